"""What a person is told of the tracking store."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from digitsweep.errors import InputError
from digitsweep.store import first_line, patience_seconds, sweeps_that_opened, without_secrets


def test_the_line_that_says_what_is_wrong() -> None:
    """Of SQLAlchemy's errors the line with the reason is shown, not its advice."""
    error = Exception(
        "(raised as a result of Query-invoked autoflush)\n(sqlite3.OperationalError) database or disk is full\n[SQL]"
    )
    assert first_line(error) == "(sqlite3.OperationalError) database or disk is full"
    assert first_line(ValueError()) == "ValueError"


def test_no_password_is_shown() -> None:
    """An address loses its user and password."""
    assert without_secrets("at http://me:secret@host:5000/x failed") == "at http://host:5000/x failed"


@pytest.mark.parametrize("given", ["1m", "nan", "inf", "-1", ""])
def test_patience_is_a_number_of_seconds(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What DIGITSWEEP_PATIENCE says is a number of seconds, or one line that names it."""
    monkeypatch.setenv("DIGITSWEEP_PATIENCE", given)
    with pytest.raises(InputError, match="DIGITSWEEP_PATIENCE must be a number of seconds"):
        patience_seconds()
    monkeypatch.setenv("DIGITSWEEP_PATIENCE", "2.5")
    assert patience_seconds() == 2.5


def test_sweeps_that_opened_the_same_test_images(made_store: Path) -> None:
    """Counted are sweeps, in whatever MLflow experiment, that opened these test images; not the one that asks."""
    client = MlflowClient(f"sqlite:///{made_store}/mlflow.db")
    sweep, opened = {"digitsweep.kind": "sweep"}, {"digitsweep.test.opened.cnn": "2026-11-21 by sweep 1, opening 1"}
    these, others = {"digitsweep.data.digest.test": "3" * 64}, {"digitsweep.data.digest.test": "4" * 64}
    first, second = (client.create_experiment(name) for name in ("first", "second"))
    asking = client.create_run(first, tags=sweep | these | opened).info.run_id
    assert sweeps_that_opened("3" * 64, asking) == 0
    for experiment, tags in (
        (first, sweep | these | opened),
        (second, sweep | these | opened | {"digitsweep.test.opened.ann": "opening 2"}),
        (second, sweep | these),
        (second, sweep | others | opened),
        (second, these | opened | {"digitsweep.kind": "comparison"}),
    ):
        client.create_run(experiment, tags=tags)
    assert sweeps_that_opened("3" * 64, asking) == 2
    assert sweeps_that_opened("4" * 64, asking) == 1
