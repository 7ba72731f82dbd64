"""The gate file: what it may say, and what is told of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import EXPERIMENTS, ROOT
from support import only_line

from digitsweep.errors import InputError
from digitsweep.experiment_file import experiments_in, find_experiment
from digitsweep.promotion.gate import DEFAULT, Better, Gate, Limits, find_gate, load_gate


def written(folder: Path, text: str) -> Path:
    path = folder / "gate.yaml"
    path.write_text(text)
    return path


def test_the_gate_that_is_shipped_is_the_default() -> None:
    """experiments/gate.yaml says what holds where there is no file, and begins with its question and its command."""
    path = EXPERIMENTS / "gate.yaml"
    assert load_gate(path) == DEFAULT
    head = path.read_text().splitlines()
    assert head[0].startswith("# Question:")
    assert any(line.startswith("# Command:") for line in head)


def test_the_gate_is_no_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate lies beside the experiments, and is neither listed as one nor taken for one."""
    assert EXPERIMENTS / "gate.yaml" not in experiments_in(EXPERIMENTS)
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError) as error:
        find_experiment("gate")
    only_line(error, "gate: this is the gate of `digitsweep promote`, not an experiment; there are digits, mnist")
    with pytest.raises(InputError) as error:
        find_experiment("nothing")
    assert "gate" not in str(error.value)


def test_where_the_gate_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A named file counts, else experiments/gate.yaml, else the defaults."""
    monkeypatch.chdir(tmp_path)
    assert find_gate(None) == DEFAULT
    (tmp_path / "experiments").mkdir()
    written(tmp_path / "experiments", "min_accuracy: 0.5")
    assert find_gate(None).min_accuracy == 0.5
    assert find_gate(written(tmp_path, "min_accuracy: 0.25")).min_accuracy == 0.25


def test_what_a_file_leaves_out(tmp_path: Path) -> None:
    """A rule that is left out is as in Gate, null is no rule, and 1e-1 is the number that it means."""
    gate = load_gate(written(tmp_path, "max_weights: null\nmin_accuracy: 1e-1\nbetter: {rule: not_worse, margin: 0.01}"))
    assert gate == Gate(max_weights=None, min_accuracy=0.1, better=Better(rule="not_worse", margin=0.01))


def test_limits_of_some_data() -> None:
    """The limits of some data replace those that they name, on that data only; null takes one away."""
    gate = Gate(data={"mnist": Limits(min_accuracy=0.99, max_weights=None)})
    assert gate.on("digits") == gate
    there = gate.on("mnist")
    assert (there.min_accuracy, there.max_weights, there.min_class_recall) == (0.99, None, gate.min_class_recall)


WRONG = {
    "min_acuracy: 0.9": ("gate.yaml:1: min_acuracy: is not known here; did you mean min_accuracy?",),
    "min_accuracy: 97": ("gate.yaml:1: min_accuracy:", "less than or equal to 1", "97"),
    "min_accuracy: true": ("min_accuracy: takes no true or false",),
    "clean_commit: 3": ("clean_commit:", "3"),
    "max_weights: -5": ("max_weights:", "-5"),
    "max_latency_p95: .inf": ("max_latency_p95:", "finite"),
    "max_latency_p95: fast": ("max_latency_p95:", "'fast'"),
    "better: {rule: best}": ("better.rule:", "'better' or 'not_worse'", "'best'"),
    "better: {rule: better, margin: 0.1}": ("gate.yaml:1: better: `margin` belongs to the rule not_worse",),
    "better: {rule: not_worse, level: 0.1, margin: 0.1}": ("`level` belongs to the rule better",),
    "better: {rule: not_worse}": ("`margin` of not_worse must be above 0",),
    "better: {level: 0}": ("better.level:", "greater than 0"),
    "min_accuracy: 0.9\ndata: {mnist: {min_acc: 1}}": ("gate.yaml:2: data.mnist.min_acc: is not known here",),
    "data: {mnist: {clean_commit: false}}": ("data.mnist.clean_commit: is not known here",),
    "[0.9]": ("a gate is a mapping that begins with `min_accuracy:`",),
    "min_accuracy: [0.9": ("not valid YAML",),
    "min_accuracy: 0.9\nmin_accuracy: 0.8": ("gate.yaml:2: min_accuracy: is given twice",),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_is_one_clear_line(text: str, tmp_path: Path) -> None:
    """Whatever is wrong in a gate file is told in one line with the line, the key, the rule and the value."""
    with pytest.raises(InputError) as error:
        load_gate(written(tmp_path, text))
    only_line(error, *WRONG[text])


def test_no_such_gate(tmp_path: Path) -> None:
    """A gate file that is named and not there is told, not replaced by the defaults."""
    with pytest.raises(InputError) as error:
        find_gate(tmp_path / "none.yaml")
    only_line(error, "none.yaml: cannot be read")


def test_every_mistake_has_its_line(tmp_path: Path) -> None:
    """Two mistakes are two lines."""
    with pytest.raises(InputError) as error:
        load_gate(written(tmp_path, "min_accuracy: 2\nmax_weight: 3"))
    assert len(str(error.value).splitlines()) == 2
