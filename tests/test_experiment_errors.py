"""Invalid experiment files: every mistake is reported, one per line, with the file and the key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import MINUTES_EXPERIMENT, PROPERTY, SMALL_EXPERIMENT, outcome

from digitsweep.config.experiment_file import load_experiment
from digitsweep.errors import InputError


def wrong(path: Path, content: str | bytes) -> list[str]:
    """The lines that are said of a file; each begins with its path."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError) as error:
        load_experiment(path)
    lines = str(error.value).splitlines()
    assert all(line.startswith(f"{path}:") for line in lines), lines
    return lines


UNITS = "{type: int, low: 16, high: 64, log: true, per: hidden_layers}"
RATE = "{type: float, low: 1.0e-3, high: 1.0e-1, log: true}"
DENSE = "{params: {hidden_layers: 2, units: 64}, epochs: 2}"
SPACE = "families.ann.space"

EDITS = [  # what is replaced, by what, and how the message begins after the line number
    ("seed: 0", "sede: 0", "sede: unknown key; did you mean seed?"),
    ("seed: 0", "seed: 0\nfinalists: {topp: 2}", "finalists.topp: unknown key; did you mean top?"),
    ("seed: 0", "seed: 0\nfinalists: {confirm: -1}", "finalists.confirm: input should be greater than or equal to 0"),
    ("seed: 0", "seed: 0\nfinalists: {epochs: 0}", "finalists.epochs: is a whole number from 1 to 100,000, or one for each"),
    ("seed: 0", "seed: 0\nfinalists: {epochs: {ann: 0}}", "finalists.epochs.ann: input should be greater"),
    ("seed: 0", "seed: 0\nfinalists: {epochs: {dnn: 2}}", "finalists.epochs.dnn: a family must be one of ann, cnn"),
    ("seed: 0", "seed: 0\npath: x", "path: unknown key"),
    ("seed: 0", "seed: -1", "seed: input should be greater than or equal to 0, but is -1"),
    ("seed: 0", f"seed: {2**31}", "seed: input should be less than"),
    ("seed: 0", "seed: 0x" + "f" * 98, "seed: input should be less than"),
    ("seed: 0", "seed: 0x" + "f" * 5000, "seed: a number or date may have at most 100 characters, but this has 5,002"),
    ("seed: 0", "seed: 1" + ":1" * 5000, "seed: a number or date may have at most 100 characters, but this has 10,001"),
    ("Does it load?", '"Does\\e[2J it?"', "question: contains the character U+001B"),
    ("Does it load?", '"\\ud800"', "question: contains the character U+D800"),
    ("seed: 0", '"\\b": 0', "contains the character U+0008"),
    ("source: digits", 'source: "a\\0b"', "data.source: contains the character U+0000"),
    ("seed: 0", "seed: true", "seed: input should be a valid integer, but is True"),
    ("seed: 0", "seed: first", "seed: input should be a valid integer"),
    ("seed: 0", "seed:", "seed: input should be a valid integer"),
    ("seed: 0", "seed: 0\nseed: 1", "seed: is given twice"),
    ("seed: 0", '"se\\ned": 0', "se ed: unknown key"),
    ("seed: 0", "? [a, b]\n: 0", "?: a key must be text"),
    ("name: small", "name: Small sweep", "name: string should match pattern"),
    ("question: Does it load?", 'question: ""', "question: string should have at least 1 character"),
    ("validation: 0.25", "validation: 0", "data.validation: is a whole number of images, or a share"),
    ("validation: 0.25", "validation: 1.5", "data.validation: is a whole number of images, or a share"),
    ("validation: 0.25", "validation: .nan", "data.validation: is a whole number of images, or a share"),
    ("validation: 0.25", "validation: true", "data.validation: is a whole number"),
    ("validation: 0.25", "size: 7", "data.size: input should be greater than or equal to 8, but is 7"),
    ("validation: 0.25", "size: 513", "data.size: input should be less than or equal to 512, but is 513"),
    ("validation: 0.25", "size: large", "data.size: input should be a valid integer"),
    ("validation: 0.25", "fit: stretch", "data.fit: input should be 'letterbox' or 'crop'"),
    ("validation: 0.25", "classes: [yes, no]", "data.classes: is a list of different names, with words such as"),
    ("validation: 0.25", "classes: [cat, cat]", "data.classes: is a list of different names"),
    ("validation: 0.25", 'classes: [cat, ""]', "data.classes: is a list of different names"),
    ("validation: 0.25", "classes: cat", "data.classes: is a list of different names"),
    ("validation: 0.25", "classes: {0: cat}", "data.classes: is a list of different names"),
    ("validation: 0.25", "strict: maybe", "data.strict: input should be a valid boolean"),
    ("source: digits, ", "", "data.source: must be given"),
    ("trials: 2", "trials: -1", "budget.trials: input should be greater than or equal to 0, but is -1"),
    ("trials: 2", "trials: false", "budget.trials: input should be a valid integer, but is False"),
    ("trials: 2", "trials: 2.5", "budget.trials: input should be a valid integer"),
    ("epochs: 3", "epochs: 0", "budget.epochs: input should be greater than or equal to 1"),
    ("seconds: 20", "seconds: .nan", "budget.seconds: input should be a finite number, but is nan"),
    ("seconds: 20", "seconds: -.inf", "budget.seconds: input should be"),
    ("metric: val_accuracy", "metric: accuracy", "objective.metric: input should be 'val_accuracy', "),
    ("direction: maximize", "direction: minimize", "objective: `direction` of val_accuracy is maximize"),
    ("seed: 0", "sampler: {type: grid}", "sampler.type: input should be 'mixture', 'tpe' or 'random', but is 'grid'"),
    ("seed: 0", "pruner: {reduction_factor: 1}", "pruner.reduction_factor: input should be greater than or equal to 2"),
    ("  ann:\n", "  rnn:\n", "families.rnn: a family must be one of ann, cnn, resnet, but is rnn"),
    ("      dense:", "      'dense-[/relu]':", "families.ann.baselines: a name must be up to 60 letters, digits, dots"),
    (DENSE, "{hidden_layers: 0}", "families.ann.baselines.dense: must be a mapping with `params`"),
    (DENSE, "{params: {hidden_layers: 2, units: [1, 2, 3]}}", "families.ann.baselines.dense.params: `units` takes one"),
    (DENSE, "{params: {hidden_layers: 2}}", "families.ann.baselines.dense.params.units: must be given"),
    (DENSE, "{params: {hidden_layers: 0}, epochs: 0}", "families.ann.baselines.dense.epochs: input should be greater"),
    (DENSE, "{params: {hidden_layers: 0}, published_accuracy: 98}", "families.ann.baselines.dense.published_accu"),
    (DENSE, "{params: {hidden_layers: 1, units: [true]}}", "families.ann.baselines.dense.params.units.0: input sho"),
    (DENSE, "{params: {hidden_layers: 0, momentum: 0.5}}", "families.ann.baselines.dense.params.momentum: has no effect"),
    (f"      units: {UNITS}\n", "", f"{SPACE}: `units` must be given"),
    ("      learning_rate:", "      learning_rte:", f"{SPACE}.learning_rte: is not a hyperparameter; did you mean le"),
    ("      batch_size: 32", "      batch_size: true", f"{SPACE}.batch_size: input should be a valid integer"),
    ("low: 1.0e-3", "low: soon", f"{SPACE}.learning_rate.low: input should be a valid number"),
    (RATE, "{type: real, low: 1, high: 2}", f"{SPACE}.learning_rate: `type` must be int, float or categorical, but is real"),
    (RATE, "1000", f"{SPACE}.learning_rate: input should be less than or equal to 10, but is 1000"),
    ("[constant, cosine]", "[constant, cosnie]", f"{SPACE}.schedule: input should be 'constant', 'step'"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), EDITS, ids=[f"{new[:30].strip()!r}"[1:-1] for _, new, _ in EDITS])
def test_one_mistake_is_one_kind_of_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    """A single mistake is reported with the line number and path of its key; valid values are not blamed."""
    path = tmp_path / "wrong.yaml"
    assert old in SMALL_EXPERIMENT
    for line in wrong(path, SMALL_EXPERIMENT.replace(old, new, 1)):
        _, number, rest = line.removeprefix(str(path)).split(":", 2)
        assert 1 <= int(number) <= len(path.read_text().splitlines())
        assert rest.strip().startswith(said), line


FIRST = "      - {hidden_layers: 1, units: 32, learning_rate: 0.01, schedule: cosine, batch_size: 32}\n"
MINUTES_EDITS = [
    ("{minutes: 0.5}", "{minutes: 0.1}", "budget.minutes: input should be greater than or equal to 0.5, but is 0.1"),
    ("{minutes: 0.5}", "{minutes: .inf}", "budget.minutes: input should be"),
    ("{minutes: 0.5}", "{minutes: soon}", "budget.minutes: input should be a valid number"),
    ("{minutes: 0.5}", "{minutes: 0.5, patience: 0}", "budget.patience: input should be greater than or equal to 1"),
    ("{minutes: 0.5}", "{minutes: 0.5, trials: -1}", "budget.trials: input should be greater than or equal to 0"),
    ("{minutes: 0.5}", "{minutes: 0.5, epochs: 3}", "budget.epochs: does not go with the other keys here"),
    ("seed: 0", "seed: 0\npruner: {type: none}", "pruner: must be left out with budget.minutes"),
    ("seed: 0", "seed: 0\nfinalists: {top: 1}", "finalists: must be left out with budget.minutes"),
    (FIRST, "      - {hidden_layers: 4, units: 32, batch_size: 32}\n",
     "families.ann.first.0: must lie within the space, but hidden_layers is 4"),
    (FIRST, "      - {hidden_layers: 1, units: 8, batch_size: 32}\n",
     "families.ann.first.0: must lie within the space, but units_1 is 8"),
    (FIRST, "      - {hidden_layers: 1, units: 32, batch_size: 32, optimizer: sgd}\n",
     "families.ann.first.0: must lie within the space, but optimizer is sgd, not adam"),
    (FIRST, "      - {hidden_layers: 1}\n", "families.ann.first.0.units: must be given"),
    (FIRST, "      - {hidden_layers: 1, units: 32, wide: true}\n", "families.ann.first.0.wide: unknown key"),
    ("    first:", "    defaults: []\n    first:", "families.ann.defaults: unknown key"),
    (FIRST, "      - hidden_layers\n", "families.ann.first: must be a list of configurations"),
    ("high: 3, prior: 2", "high: 3, prior: 4", "families.ann.space.hidden_layers: `prior` must lie between"),
    ("prior: {value: cosine, sure: low}", "prior: step", "families.ann.space.schedule: `prior` must be one of the choices"),
    ("sure: high", "sure: 0.9", "families.ann.space.learning_rate.prior.sure: input should be 'low', 'medium' or 'high'"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), MINUTES_EDITS, ids=[said[:60] for _, _, said in MINUTES_EDITS])
def test_a_mistake_in_an_experiment_in_minutes_is_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    """A single mistake in minutes, priors or known configurations is one line with the line number and path of its key."""
    path = tmp_path / "wrong.yaml"
    assert old in MINUTES_EXPERIMENT
    (line,) = wrong(path, MINUTES_EXPERIMENT.replace(old, new, 1))
    _, number, rest = line.removeprefix(str(path)).split(":", 2)
    text = path.read_text().splitlines()
    key = said.split(":")[0].split(".")
    assert any(part in text[int(number) - 1] for part in (*key, new.strip().splitlines()[-1])), line
    assert rest.strip().startswith(said), line


def test_misspelt_minutes_are_told(tmp_path: Path) -> None:
    """A budget with neither minutes nor seconds is read as one in seconds; the key that may have been meant is named."""
    lines = wrong(tmp_path / "wrong.yaml", MINUTES_EXPERIMENT.replace("{minutes: 0.5}", "{minutse: 0.5}"))
    assert any("budget.minutse: unknown key; did you mean minutes?" in line for line in lines)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seed: 0", "seed: 0\nsampler: {type: mixture}", "sampler.type: mixture needs budget.minutes"),
        (
            "    space:\n",
            "    first: [{hidden_layers: 0, batch_size: 32}]\n    space:\n",
            "families.ann.first: needs budget",
        ),
        ("low: 0, high: 2", "low: 0, high: 2, prior: 1", "families.ann.space: may have a `prior` only with budget.minutes"),
        ("seed: 0", "seed: 0\nfinalists: {top: 2, seeds: 0}", "finalists.seeds: may be 0 only with top: 1, but top is 2"),
    ],
)
def test_what_needs_minutes_is_refused_without_them(tmp_path: Path, old: str, new: str, said: str) -> None:
    """Priors, known configurations and the mixture would have no effect where the budget is in seconds."""
    path = tmp_path / "wrong.yaml"
    (line,) = wrong(path, SMALL_EXPERIMENT.replace(old, new, 1))
    assert line.removeprefix(str(path)).split(":", 2)[2].strip().startswith(said)


HEAD = SMALL_EXPERIMENT[: SMALL_EXPERIMENT.index("families")]
FILES: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "an experiment must be a mapping"),
    "only a comment": ("# nothing\n", "an experiment must be a mapping"),
    "not UTF-8": (SMALL_EXPERIMENT.encode("utf-16"), "UTF-8"),
    "a zero byte": ("name: sm\0ll\n", "not valid YAML"),
    "two documents": (f"{SMALL_EXPERIMENT}---\n{SMALL_EXPERIMENT}", "not valid YAML"),
    "an unknown alias": ("name: *small\n", "not valid YAML"),
    "a Python object": ("name: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
    "no bool": ("name: !!bool maybe\n", "not valid YAML"),
    "no date": ("name: 2026-99-99\n", "not valid YAML"),
    "a number without end": (f"seed: {'9' * 5000}\n", "at most 100 characters"),
    "a recursive list": ("name: &again [*again]\n", "at most 10,000 values, nested at most 20 deep"),
    "a recursive merge": ("name: &again {<<: *again}\n", "at most 10,000 values, nested at most 20 deep"),
    "too deep": ("name: " + "[" * 25 + "]" * 25, "at most 10,000 values, nested at most 20 deep"),
    "far too deep": ("[" * 100_000, "not valid YAML"),
    "many aliases": ("a: &a [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcd", "bcde", strict=True)
    ), "at most 10,000 values, nested at most 20 deep"),
    "many aliases in a key": ("? [&a [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]" + "".join(
        f", &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcd", "bcde", strict=True)
    ) + "]\n: 0\n", "a key must be text"),
    "too large": (SMALL_EXPERIMENT + "#" * 100_000, "at most 100,000 bytes"),
    "families is a list": (f"{HEAD}families: [ann]\n", "families: input should be a valid dictionary"),
    "no families": (f"{HEAD}families: {{}}\n", "families: dictionary should have at least 1 item"),
    "a family that is a list": (f"{HEAD}families: {{ann: []}}\n", "families.ann: must be a mapping"),
    "no mapping of baselines": (f"{HEAD}families: {{ann: {{baselines: [], space: {{hidden_layers: 0, units: 1}}}}}}\n",
                                "families.ann.baselines: must be a mapping"),
    "a fallback elsewhere": (SMALL_EXPERIMENT.replace("0.25", "0.25, fallback: ../x.yaml"), "data.fallback: a rel"),
    "data elsewhere": (SMALL_EXPERIMENT.replace("source: digits", "source: ../x"), "data.source: a relative path must"),
    "a fallback of too long a name": (SMALL_EXPERIMENT.replace("0.25", f"0.25, fallback: {'n' * 300}"), "data.fallback: "),
    "a misspelt budget": (re.sub(r"budget: .*", "budget: {minuets: 1}", SMALL_EXPERIMENT), "budget.minuets: "),
    "values without end": ("a: [" + "a," * 40_000 + "]", "at most 10,000 values, nested at most 20 deep"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "said"), FILES.values(), ids=FILES.keys())
def test_a_wrong_file_is_one_line(tmp_path: Path, content: str | bytes, said: str) -> None:
    """A file that cannot be an experiment is refused with one line."""
    lines = wrong(tmp_path / "wrong.yaml", content)
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize("name", ["missing.yaml", "", "n" * 300])
def test_no_file(tmp_path: Path, name: str) -> None:
    """A missing file, a folder, and a name that is too long are refused with one line."""
    with pytest.raises(InputError) as error:
        load_experiment(tmp_path / name)
    assert str(error.value).startswith(f"{tmp_path / name}: cannot be read")


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    """Mistakes in several parts of a file are all reported, each with its own line number."""
    text = SMALL_EXPERIMENT
    edits = [("seed: 0", "seed: -1"), ("trials:", "trails:"), ("units: 64", "units: [1]"), ("low: 16", "low: 65")]
    for old, new in [*edits, ("  ann:", "  cnn: {spaces: {}}\n  ann:")]:
        text = text.replace(old, new, 1)
    path = tmp_path / "wrong.yaml"
    said = sorted(line.removeprefix(f"{path}:").split(": ")[:2] for line in wrong(path, text))
    assert said == [
        ["12", "families.ann.baselines.dense.params"],
        ["15", "families.ann.space.units"],
        ["3", "seed"],
        ["5", "budget.trails"],
        ["8", "families.cnn.spaces"],
    ]


@PROPERTY
@given(
    at=st.integers(0, len(SMALL_EXPERIMENT)),
    put=st.text(max_size=4) | st.sampled_from("{}[]&*!|>%@`?:-,#'\""),
    cut=st.integers(0, 9),
)
def test_any_edit_loads_or_is_explained(tmp_path_factory: pytest.TempPathFactory, at: int, put: str, cut: int) -> None:
    """Whatever is typed into a valid file, it loads, or every line of the error begins with its path."""
    path = tmp_path_factory.getbasetemp() / "edited.yaml"
    path.write_bytes((SMALL_EXPERIMENT[:at] + put + SMALL_EXPERIMENT[at + cut :]).encode(errors="replace"))
    loaded = outcome(lambda: load_experiment(path))
    if isinstance(loaded, str):
        assert loaded
        assert all(line.startswith(f"{path}:") for line in loaded.splitlines())
    else:
        assert loaded.text
        assert loaded.families
