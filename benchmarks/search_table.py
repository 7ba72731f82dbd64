"""Trains configurations of the wide spaces at three rungs on three data sets, once, for `make bench-search` to replay.

    search_table.py OUT.jsonl [CONFIGURATIONS]

Half of the configurations are drawn uniformly from the spaces of images.yaml, half near what is known to work. One process a
core; each training is on one thread. What OUT.jsonl has already is not trained again."""
# what TensorFlow reads at its import is set before it

from __future__ import annotations

import os

os.environ |= {
    **{f"TF_NUM_{name}_THREADS": "1" for name in ("INTRAOP", "INTEROP")},
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
}

import json
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from digitsweep.config.experiment_file import load_experiment
from digitsweep.config.space import Choice, Distribution
from digitsweep.data import TrainingData
from digitsweep.data.sources import load_dataset
from digitsweep.families import Params
from digitsweep.search.proposals import near, uniform

IMAGES = Path(__file__).parent.parent / "experiments" / "images.yaml"
RECIPES: dict[str, dict[str, Any]] = {
    "ann": {
        "hidden_layers": 2, "units_1": 832, "units_2": 640, "units_3": 384, "units_4": 256, "activation": "relu",
        "normalization": "batch", "dropout": 0.1, "optimizer": "adamw", "learning_rate": 0.004, "momentum": 0.9,
        "weight_decay": 0.05, "schedule": "one_cycle", "warmup": 0.3, "label_smoothing": 0.05, "batch_size": 256,
        "augmentation": "affine",
    },
    "cnn": {
        "blocks": 3, "convolutions_1": 1, "convolutions_2": 1, "convolutions_3": 1, "filters_1": 32, "filters_2": 48,
        "filters_3": 64, "kernel_size": 3, "pooling": "max", "padding": "same", "activation": "relu",
        "normalization": "batch", "dropout": 0.0, "dense_units": 128, "dense_dropout": 0.1, "optimizer": "adamw",
        "learning_rate": 0.006, "momentum": 0.9, "weight_decay": 0.05, "schedule": "one_cycle", "warmup": 0.3,
        "label_smoothing": 0.05, "batch_size": 128, "augmentation": "affine",
    },
}  # fmt: skip
RUNGS = {
    "letters": {"ann": (0.3, 1.2, 4.8), "cnn": (0.5, 2.0, 8.0)},
    "mnist": {"ann": (0.35, 1.4, 5.6), "cnn": (0.6, 2.4, 9.6)},
    "digits": {"ann": (0.1, 0.4, 1.6), "cnn": (0.15, 0.6, 2.4)},
}
"""Work of each rung, in predicted seconds of one core."""
AUGMENTATIONS = ("none", "shift", "affine")
"""The space has flip and crop, too. They are of no use for these data, and were added after the first configurations."""
RATES = (0.1, 0.2, 0.4, 0.6)
"""How much of a recipe a configuration near it changes, in turn."""


def configuration(family: str, number: int) -> tuple[Params, dict[str, Any]]:
    """The configuration with this number, and what was drawn for it: even ones anywhere, odd ones near the recipe."""
    space = load_experiment(IMAGES).families[family].space
    random = np.random.default_rng([number, sorted(RECIPES).index(family)])
    anywhere = uniform(random)
    while True:
        choose = near(RECIPES[family], random, RATES[number // 2 % 4], anywhere) if number % 2 else anywhere
        drawn: dict[str, Any] = {}

        def note(name: str, each: Distribution, *, choose: Choice = choose, drawn: dict[str, Any] = drawn) -> Any:
            known = {"choices": AUGMENTATIONS} if name == "augmentation" else {}
            drawn[name] = choose(name, each.model_copy(update={"prior": None, **known}))
            return drawn[name]

        try:
            params = space.suggest(note)
        except ValidationError:
            continue
        if params.smallest_image() <= 8:
            return params, drawn


def predicted_seconds(params: Params, side: int, images: int) -> float:
    """Of an epoch, roughly; what is measured is recorded beside it. Not `Params.epoch_seconds`, which is fitted to the table
    and would change what the table holds."""
    values = params.model_dump()
    activations = params.outputs((side, side, 1)) / 1000
    activation = values["activation"] if params.family == "cnn" else values["activation"][0]
    normalization = values["normalization"][0] if values["normalization"] else "none"
    each = params.operations((side, side, 1)) / 1e6 * 35 + 10
    each += activations * (0.86 + {"gelu": 3.2, "silu": 1.0, "tanh": 1.0}.get(activation, 0.0))
    each += activations * {"batch": 1.0, "layer": 2.0, "none": 0.0}[normalization]
    each += {"none": 0.0, "shift": 6.0, "affine": 9.0}[values["augmentation"]] * side * side / 784
    step = 0.5e-3 + 1.6e-9 * params.kernels((side, side, 1))
    return float(images * each * 1e-6 + images / values["batch_size"] * step)


def data_of(name: str) -> TrainingData:
    folder = Path(os.environ["DIGITSWEEP_BENCH_DATA"])
    match name:
        case "letters":
            return load_dataset(folder / "letters", validation=1200, seed=0).training
        case "mnist":
            whole = load_dataset(folder / "mnist", validation=10_000, seed=0).training
            return TrainingData(whole.train.take(np.arange(16_000)), whole.validation.take(np.arange(4_000)), whole.classes)
        case _:
            return load_dataset("digits", validation=0.25, seed=0).training


def trained(params: Params, data: TrainingData, work: float, seed: int) -> dict[str, Any]:
    """What one training gave; `seconds` are of the processor."""
    from digitsweep.training.loop import forget, train

    epochs = float(f"{work / predicted_seconds(params, data.side, len(data.train)):.2g}")
    begun, at, result = time.process_time(), [], None
    training = train(params, data, seed=seed, epochs=epochs)
    while result is None:
        try:
            metrics = next(training).metrics
            at.append([round(metrics.val_accuracy, 5), round(metrics.val_loss, 4), round(time.process_time() - begun, 3)])
        except StopIteration as end:
            result = end.value
    found = {"epochs": epochs, "state": result.state.value, "seconds": round(time.process_time() - begun, 3)}
    weight_count = result.weight_count
    del training, result
    forget()
    return {**found, "weights": weight_count, "curve": at}


def work_on(worker: int, workers: int, out: str, count: int) -> None:
    from digitsweep.training.startup import import_tensorflow_quietly

    import_tensorflow_quietly()
    from digitsweep.training.loop import settle

    settle()
    known = set()
    if Path(out).exists():
        known = {
            (e["family"], e["number"], e["data"], e["rung"]) for e in map(json.loads, Path(out).read_text().splitlines())
        }
    datasets = {name: data_of(name) for name in RUNGS}
    for number in range(count):
        for index, family in enumerate(RECIPES):
            if (number + index) % workers != worker:
                continue
            params, drawn = configuration(family, number)
            for name, data in datasets.items():
                for rung, work in enumerate(RUNGS[name][family]):
                    if (family, number, name, rung) in known:
                        continue
                    row = {"family": family, "number": number, "data": name, "rung": rung, "drawn": drawn}
                    row |= trained(params, data, work, seed=number)
                    with Path(out).open("a") as file:
                        file.write(json.dumps(row) + "\n")


def main(out: str, count: str = "150") -> None:
    workers = len(os.sched_getaffinity(0))
    context = get_context("spawn")
    processes = [context.Process(target=work_on, args=(each, workers, out, int(count))) for each in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
