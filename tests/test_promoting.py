"""From a registered challenger to the champion and back, with real networks, as a person types it."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import mlflow
import numpy as np
import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient
from numpy.typing import NDArray

from digitsweep.cli import main
from digitsweep.data import Dataset
from digitsweep.data.sources import load_dataset
from digitsweep.families import Shape, parse_params
from digitsweep.families.build import network
from digitsweep.registry.gate import Unmeasured, decision_from
from digitsweep.registry.models import load
from digitsweep.registry.versions import log_model, register
from digitsweep.training.loop import train
from digitsweep.trial import Epoch, TrialResult

# mlflow.pyfunc warns of its own type hints when it is imported first; which test that falls into is chance.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")

NAME = "digits-ann"
PARAMS = parse_params("ann", {"hidden_layers": 1, "units": 100, "batch_size": 32, "learning_rate": 0.01})
OTHERS: dict[str, tuple[Shape, int]] = {"larger, in colour": ((12, 12, 3), 10), "of eleven classes": ((8, 8, 1), 11)}
"""Networks that cannot read the digits: the shape of their images, and how many classes they know."""
Weights = tuple[NDArray[np.generic], ...]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset("digits", validation=0.25, seed=0)


def trained(dataset: Dataset, epochs: int) -> Weights:
    def result() -> Generator[Epoch, None, TrialResult]:
        ended.append((yield from train(PARAMS, dataset.training, seed=1, epochs=epochs)))
        return ended[0]

    ended: list[TrialResult] = []
    assert len(list(result())) == epochs
    assert ended[0].weights is not None
    return ended[0].weights


@pytest.fixture(scope="module")
def networks(dataset: Dataset) -> dict[str, Weights]:
    """Trained for one epoch, and for forty: 92 and 97 % of the test images; and untrained ones of other images."""
    made = {name: trained(dataset, epochs) for name, epochs in (("weak", 1), ("strong", 40))}
    return made | {name: tuple(network(PARAMS, *other).get_weights()) for name, other in OTHERS.items()}


class Registry:
    """Registers networks as a sweep does, and runs commands."""

    def __init__(self, dataset: Dataset, networks: dict[str, Weights]) -> None:
        self.client = MlflowClient()
        self._dataset, self._networks = dataset, networks
        self._experiment = self.client.create_experiment("sweep")

    def register(self, network: str, **tags: str) -> str:
        """A new challenger: its version."""
        shape, classes = OTHERS.get(network, ((8, 8, 1), 10))
        known = {
            "digitsweep.data": "digits",
            "digitsweep.data.source": self._dataset.source,
            "digitsweep.data.digest.test": self._dataset.test.digest,
            "digitsweep.commit": "c" * 40,
            "digitsweep.dirty": "false",
            "family": "ann",
            **tags,
        }
        run = self.client.create_run(self._experiment).info.run_id
        model = log_model(NAME, PARAMS, self._networks[network], shape=shape, classes=classes, run_id=run, tags=known)
        return register(NAME, *model, run_id=run, tags=known, description="As trained.").version

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(main, list(words))

    def champion(self) -> str | None:
        found = self.client.get_registered_model(NAME).aliases.get("champion")
        return None if found is None else str(found)


@pytest.fixture
def registry(made_store: Path, dataset: Dataset, networks: dict[str, Weights]) -> Registry:
    (made_store / "experiments").mkdir()
    (made_store / "experiments" / "gate.yaml").write_text(
        "min_accuracy: 0.8\nmin_class_recall: 0.3\nmax_latency_p95: 10000\n"  # a weak network passes, on a busy machine too
    )
    return Registry(dataset, networks)


def test_the_whole_way(registry: Registry) -> None:
    """The first passes, a better one passes, an equal and a worse one are refused with rule and figures, the worse one by
    force passes, rollback restores, and history tells all of it."""
    weak = registry.register("weak")
    first = registry.run("promote", NAME)
    assert first.exit_code == 0, first.output
    assert "no champion yet" in first.stdout
    assert registry.champion() == weak
    again = registry.run("promote", NAME)
    assert (again.exit_code, again.stderr) == (3, f"digitsweep: {NAME} 1 is champion already\n")

    strong = registry.register("strong")
    better = registry.run("promote", NAME)
    assert better.exit_code == 0, better.output
    assert registry.champion() == strong

    assert "Attempt 1 on these test images, opened 2 times, tested at level 0.05." in better.stdout

    equal = registry.run("promote", NAME, "--version", registry.register("strong"))
    assert equal.exit_code == 3
    assert "Attempt 2 on these test images, opened 3 times, tested at level 0.0166." in equal.stdout
    assert "lead over the champion must be above 0 points, but is 0.00 points (" in equal.stderr
    worse = registry.run("promote", NAME, "--version", weak)
    assert worse.exit_code == 3
    assert "lead over the champion must be above 0 points, but is -" in worse.stderr
    assert len(worse.stderr.splitlines()) == 1
    assert registry.champion() == strong

    forced = registry.run("promote", NAME, "--version", weak, "--force", "--reason", "the other one is too slow")
    assert forced.exit_code == 0, forced.output
    assert registry.champion() == weak
    back = registry.run("rollback", NAME, "--reason", "it was not")
    assert back.exit_code == 0, back.output
    assert registry.champion() == strong

    told = json.loads(registry.run("history", NAME, "--json").stdout)
    assert told["champion"] == strong
    assert told["test"] == {"digest": registry._dataset.test.digest, "openings": 5, "models": 3}
    assert [each["decision"] and each["decision"]["attempt"]["number"] for each in told["records"]] == [
        1, None, 1, 2, 2, 2, None
    ]  # fmt: skip
    rows = [(each["action"], each["from"], each["to"], each["outcome"], each["forced"]) for each in told["records"]]
    assert rows == [
        ("promote", None, "1", "done", False),
        ("refuse", "1", "1", "refused", False),
        ("promote", "1", "2", "done", False),
        ("refuse", "2", "3", "refused", False),
        ("refuse", "2", "1", "refused", False),
        ("promote", "2", "1", "done", True),
        ("rollback", "1", "2", "done", False),
    ]
    assert all(each["who"] and each["at"] and each["reason"] and each["commit"] for each in told["records"])
    assert "the other one is too slow" in told["records"][5]["reason"]
    assert told["records"][5]["decision"]["passed"] is False
    shown = " ".join(registry.run("history", NAME).stdout.split())
    for expected in (
        "champion is version 2",
        "Its test images were opened 5 times, for 3 models.",
        "promote, forced",
        "rollback",
        "refused",
        "Attempt 2 on these test images, opened 3 times, tested at level 0.0166.",
    ):
        assert expected in shown

    version = registry.client.get_model_version(NAME, strong)
    decision = decision_from(version.tags["digitsweep.decision"])
    assert decision.passed
    assert decision.champion is not None
    assert version.description is not None
    assert version.description.startswith("As trained.")
    assert "| McNemar's exact test | p < 0.05 in its favour (attempt 1 on these test images) |" in version.description
    assert "Attempt 1 on these test images, opened 2 times" in version.description
    openings = [value for key, value in version.tags.items() if key.startswith("digitsweep.test.opened.")]
    assert len(openings) == 1
    assert registry._dataset.test.digest in openings[0]


@pytest.mark.parametrize(
    ("champion", "why"),
    [
        ("larger, in colour", "takes images of shape (12, 12, 3), not (8, 8, 1)"),
        ("of eleven classes", "knows 11 classes, not 10"),
    ],
)
def test_a_champion_of_other_images(registry: Registry, champion: str, why: str) -> None:
    """A champion that cannot read the challenger's images stays unless the promotion is forced; one line says why, and
    the ledger keeps the rules that failed."""
    before = registry.register(champion, **{"digitsweep.data.digest.test": "e" * 64})
    registry.client.set_registered_model_alias(NAME, "champion", before)
    challenger = registry.register("strong")
    refused = registry.run("promote", NAME)
    assert refused.exit_code == 3, refused.output
    assert len(refused.stderr.splitlines()) == 1
    assert f"but is {registry._dataset.test.digest[:12]} against eeeeeeeeeeee" in refused.stderr
    assert f"lead over the champion must be above 0 points, but is unknown, since the champion {why}" in refused.stderr
    assert f"{NAME} 1: not evaluated, since it {why}." in " ".join(refused.stdout.split())
    assert registry.champion() == before

    forced = registry.run("promote", NAME, "--force", "--reason", "the images are new")
    assert forced.exit_code == 0, forced.output
    assert registry.champion() == challenger
    record = json.loads(registry.run("history", NAME, "--json").stdout)["records"][-1]
    assert (record["action"], record["from"], record["outcome"], record["forced"]) == ("promote", before, "done", True)
    decision = decision_from(json.dumps(record["decision"]))
    assert decision.champion == Unmeasured(f"{NAME} 1", why, "e" * 64)
    assert {each.name for each in decision.failed} == {"test images", "lead over the champion", "McNemar's exact test"}
    assert (decision.difference, decision.level) == (None, None)


def test_a_dry_run_changes_nothing_but_the_opening(registry: Registry) -> None:
    """--dry-run shows the decision, and leaves no champion, no record, no decision; the opening is noted."""
    registry.register("weak")
    found = registry.run("promote", NAME, "--dry-run")
    assert found.exit_code == 0, found.output
    assert f"{NAME} 1 would be champion" in found.stdout
    assert registry.champion() is None
    assert not registry.client.search_registered_models(f"name='{NAME}-ledger'")
    tags = registry.client.get_model_version(NAME, "1").tags
    assert "digitsweep.decision" not in tags
    assert any(key.startswith("digitsweep.test.opened.") for key in tags)
    Path("strict.yaml").write_text("min_accuracy: 1.0")
    assert registry.run("promote", NAME, "--dry-run", "--gate", "strict.yaml").exit_code == 3


def test_a_dry_run_is_spent_once(registry: Registry) -> None:
    """A dry run, repeated or made real, is one attempt: the level stays, the openings are counted. A model that was tried in
    between makes a later attempt of it, one whose version was deleted too."""
    registry.register("weak")
    assert registry.run("promote", NAME).exit_code == 0
    registry.register("strong")
    for opened in (2, 3):
        assert f"Attempt 1 on these test images, opened {opened} times" in registry.run("promote", NAME, "--dry-run").stdout
    other = registry.register("weak")
    refused = registry.run("promote", NAME, "--version", other)
    assert refused.exit_code == 3
    assert "p < 0.0166 in its favour (attempt 2 on these test images)" in refused.stderr
    registry.client.delete_model_version(NAME, other)
    real = registry.run("promote", NAME, "--version", "2")
    assert real.exit_code == 0, real.output
    assert "Attempt 2 on these test images, opened 5 times, tested at level 0.0166." in real.stdout


def test_provenance_counts(registry: Registry) -> None:
    """A challenger of changed code, or for other test images than the champion's, is refused by that rule."""
    registry.register("weak", **{"digitsweep.dirty": "true"})
    assert "commit must be known and clean" in registry.run("promote", NAME).stderr
    registry.register("weak", **{"digitsweep.data.digest.test": "e" * 64})
    other = registry.run("promote", NAME)
    assert other.exit_code == 2
    assert "its test images are not those that" in other.stderr


WRONG = {
    "no such model": (["promote", "nothing"], 2, "nothing@challenger: no such model"),
    "no such version": (["promote", NAME, "--version", "9"], 2, f"{NAME}/9: no such model"),
    "no version": (["promote", NAME, "--version", "new"], 2, "--version"),
    "an alias in the name": (["promote", f"{NAME}@challenger"], 2, "write only the name of a registered model"),
    "force without a reason": (["promote", NAME, "--force"], 2, "must be given together"),
    "a reason without force": (["promote", NAME, "--reason", "why"], 2, "must be given together"),
    "an empty reason": (["promote", NAME, "--force", "--reason", " "], 2, "--reason: must be one line"),
    "no such gate": (["promote", NAME, "--gate", "none.yaml"], 2, "none.yaml: cannot be read"),
    "nothing to go back to": (["rollback", NAME], 3, "there is no earlier champion"),
    "no champion to publish": (["publish", NAME, "--to", "sqlite:///other.db"], 3, "has no champion to publish"),
    "history of no model": (["history", "nothing"], 2, "nothing: there is no registered model of this name"),
    "rollback of no model": (["rollback", "nothing"], 2, f"there are {NAME}"),
}


def test_what_is_wrong_is_one_line(registry: Registry) -> None:
    """Each mistake is one line that names it, with its exit code, and nobody is champion afterwards."""
    registry.register("weak")
    for words, code, expected in WRONG.values():
        found = registry.run(*words)
        assert found.exit_code == code, (words, found.output)
        lines = [line for line in found.stderr.splitlines() if line and not line.startswith(("Usage:", "Try "))]
        assert len(lines) == 1, found.stderr
        assert expected in lines[0]
    assert registry.champion() is None


def test_publishing(registry: Registry, made_store: Path, dataset: Dataset) -> None:
    """The champion's files, tags and decision come to another registry, once however often; it is a challenger there, or
    champion where that is asked for, by the ledger there; and it says of the images what it says here."""
    registry.register("strong")
    assert registry.run("promote", NAME).exit_code == 0
    there = made_store / "there"
    there.mkdir()
    uri = f"sqlite:///{there}/mlflow.db"
    for expected in ("is version 1", "was there already, as version 1"):
        done = registry.run("publish", NAME, "--to", uri)
        assert done.exit_code == 0, done.output
        assert expected in done.stdout
    client = MlflowClient(uri, uri)
    assert {alias: str(each) for alias, each in client.get_registered_model(NAME).aliases.items()} == {"challenger": "1"}
    version = client.get_model_version(NAME, "1")
    here = registry.client.get_model_version(NAME, "1")
    for key in ("digitsweep.decision", "digitsweep.data.digest.test", "digitsweep.commit", "family"):
        assert version.tags[key] == here.tags[key]
    assert "record 1, promote" in version.tags["digitsweep.published.record"]
    assert version.description == here.description
    images = dataset.training.validation.images[:50]
    expected_answers = load(f"models:/{NAME}/1").predict(images, verbose=0)
    crowned = registry.run("publish", NAME, "--to", uri, "--champion")
    assert crowned.exit_code == 0, crowned.output
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    assert np.array_equal(load(f"models:/{NAME}@champion").predict(images, verbose=0), expected_answers)
    told = json.loads(registry.run("history", NAME, "--json").stdout)
    assert [(each["action"], each["to"], each["outcome"]) for each in told["records"]] == [("publish", "1", "done")]
    mlflow.set_tracking_uri(before)


def test_no_password_is_shown(registry: Registry) -> None:
    """Where the other server is away, one line names it, without user and password."""
    registry.register("strong")
    assert registry.run("promote", NAME).exit_code == 0
    found = CliRunner(env={"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}).invoke(
        main, ["publish", NAME, "--to", "http://anna:secret@127.0.0.1:9"]
    )
    assert found.exit_code == 1, found.output
    assert "127.0.0.1:9" in found.stderr
    assert "secret" not in found.output
    assert len(found.stderr.splitlines()) == 1
