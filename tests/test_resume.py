"""A sweep that was broken off: going on with it, repairing what it left, and who may not."""

from __future__ import annotations

import datetime
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from faults import assert_whole, kill, start
from mlflow import MlflowClient
from running import EXPERIMENTS, Sweep, run_digitsweep
from support import SMALL_EXPERIMENT, made_split, write_npz

from digitsweep.config.experiment_file import load_experiment
from digitsweep.config.options import Options
from digitsweep.data.sources import load_dataset
from digitsweep.errors import DigitsweepError, InputError
from digitsweep.families import parse_params
from digitsweep.sweeping.run import prepare, sweep
from digitsweep.tracking.lock import TAG, Claim, locked
from digitsweep.tracking.mlflow_tracker import MlflowTracker
from digitsweep.tracking.provenance import current_commit
from digitsweep.tracking.reconcile import reconcile
from digitsweep.tracking.resume import find_unfinished, recover, take_over, unfinished_like
from digitsweep.tracking.spool import records_folder
from digitsweep.tracking.tracker import Listener, Past
from digitsweep.trial import SPENT, EpochMetrics, Kind, Trial, TrialRecord, TrialResult, TrialState, best_of


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Sweep:
    """A sweep of smoke.yaml whose coordinator was killed when two trials had been recorded: whatever still waited for the
    tracking store then, the first of them did not."""
    folder = tmp_path_factory.mktemp("broken")
    shutil.copy(empty_database, folder)  # which nobody may look into while its tables are being made
    uri = f"sqlite:///{folder}/mlflow.db"
    process = start(folder, "sweep", str(EXPERIMENTS / "smoke.yaml"), "--workers", "2", uri=uri)
    swept, log = Sweep(folder, uri, ""), folder / "log.txt"
    while "COMPLETE" not in log.read_text() or len(recorded(swept)) < 2:
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    kill(process)
    return swept


def recorded(sweep: Sweep) -> dict[str, str]:
    """Names and ids of the trials that have ended."""
    return {each.info.run_name: each.info.run_id for each in sweep.runs("trial") if each.info.end_time}


def run(broken: Sweep, *arguments: str) -> subprocess.CompletedProcess[str]:
    state = str(broken.folder / "state")
    return run_digitsweep(*arguments, cwd=broken.folder, DIGITSWEEP_STATE=state, MLFLOW_TRACKING_URI=broken.uri)


def test_reconcile_tells_the_truth_once(broken: Sweep) -> None:
    """What a crash left RUNNING is ended, and said; a picture that is gone is drawn again; the second time nothing is
    left."""
    done = min((each for each in broken.runs("trial") if each.info.end_time), key=lambda each: int(each.info.end_time))
    picture = Path(done.info.artifact_uri.removeprefix("file://")) / "learning_curves.png"
    picture.unlink()
    first = run(broken, "reconcile")
    assert first.returncode == 0, first.stderr
    assert "was RUNNING without a process" in first.stdout
    assert "learning_curves.png was missing and has been made again" in first.stdout
    assert picture.is_file()
    everything = [each for kind in ("sweep", "trial", "attempt") for each in broken.runs(kind)]
    assert "RUNNING" not in {each.info.status for each in everything}
    assert run(broken, "reconcile").stdout == "There is nothing to repair.\n"
    assert not list((broken.folder / "state").iterdir()), "nothing waits here any more"


def test_a_resumed_sweep_is_whole(broken: Sweep) -> None:
    """The same parent comes to its end with every trial once; what had ended was not trained again."""
    before = recorded(broken)
    assert before
    (parent,) = broken.runs("sweep")
    finished = run(broken, "sweep", "--resume", "last", "--workers", "2")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "best ANN" in finished.stdout
    assert_whole(broken, 8)
    assert before.items() <= recorded(broken).items()
    assert broken.parent().info.run_id == parent.info.run_id
    assert (broken.parent().info.status, broken.parent().data.tags["digitsweep.state"]) == ("FINISHED", "COMPLETE")
    assert not list((broken.folder / "state").iterdir())


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (("--resume", "last"), "all are complete"),
        (("--resume", "nonsense"), "no sweep nonsense"),
        (("--resume", "last", "--trials", "7"), "only --workers, --engine, --address and --data go with --resume"),
        (("smoke", "--resume", "last"), "only --workers, --engine, --address and --data go with --resume"),
    ],
)
def test_what_cannot_be_resumed(arguments: tuple[str, ...], rule: str, smoke: Sweep) -> None:
    """One line that says why, and the exit code of bad input."""
    finished = run_digitsweep("sweep", *arguments, cwd=smoke.folder, MLFLOW_TRACKING_URI=smoke.uri)
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert rule in line


def test_a_run_that_is_no_sweep(smoke: Sweep) -> None:
    """A trial's run, and a sweep that is complete, are refused by what they are."""
    for run_id, rule in (
        (smoke.runs("trial")[0].info.run_id, "is not a sweep's"),
        (smoke.parent().info.run_id, "is complete"),
    ):
        finished = run_digitsweep("sweep", "--resume", run_id, cwd=smoke.folder, MLFLOW_TRACKING_URI=smoke.uri)
        assert finished.returncode == 2
        assert rule in finished.stderr


def test_a_run_that_never_became_a_sweep_is_not_the_last(made_store: Path) -> None:
    """A coordinator that was killed before it had written down what it is of leaves nothing that could be resumed, and does
    not stand before what can."""
    client = MlflowClient(f"sqlite:///{made_store}/mlflow.db")
    tags = {"digitsweep.kind": "sweep", "digitsweep.state": "RUNNING"}
    client.create_run(client.create_experiment("digitsweep"), tags=tags)
    with pytest.raises(InputError, match="can be resumed"):
        find_unfinished("last")


def test_the_best_whose_weights_are_lost_is_trained_again(smoke: Sweep, tmp_path: Path) -> None:
    """The best trial of a family's search is asked for its weights where no finalist comes to its end: without them
    it is to be trained again, also where another process died before it was."""
    shutil.copy(smoke.folder / "mlflow.db", tmp_path)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    parent = smoke.parent().info

    def past() -> Past:
        return recover(client, parent.experiment_id, parent.run_id, "val_accuracy")

    before = past()
    best = best_of(
        [each for each in before.ended if each.trial.kind is Kind.TRIAL and not each.trial.baseline], "val_accuracy"
    )
    assert best is not None
    assert best.result.weights is not None
    assert before.lost == ()
    run = client.get_run(before.runs[best.trial.name, 1])
    weights = Path(run.info.artifact_uri.removeprefix("file://")) / "weights.npz"
    content = weights.read_bytes()
    weights.unlink()
    try:
        for _ in range(2):
            found = past()
            assert (found.cut, found.lost) == ((), (best.trial,))
            assert {each.trial.name for each in found.ended} == {each.trial.name for each in before.ended} - {
                best.trial.name
            }
    finally:
        weights.write_bytes(content)


def test_the_curves_of_finalists_are_whole(made_store: Path) -> None:
    """Whatever the objective, a resumed sweep has every metric after each epoch of the configurations that become
    finalists, also of one that its family's seconds stopped: their curves are drawn, and a refit may follow them."""
    path = made_store / "losses.yaml"
    path.write_text(f"{(EXPERIMENTS / 'smoke.yaml').read_text()}objective: {{metric: val_loss, direction: minimize}}\n")
    experiment = load_experiment(path)
    tracker = MlflowTracker(experiment, load_dataset("digits", validation=0.25, seed=0), current_commit(), {})
    stopped = TrialState.PRUNED, SPENT
    for number, (loss, (state, reason)) in enumerate([(0.3, stopped), (0.1, (TrialState.COMPLETE, "")), (0.2, stopped)]):
        trial = Trial(number, parse_params("ann", {"hidden_layers": 1, "units": 16 + number}), seed=number, epochs=3)
        epochs = tuple(EpochMetrics(each, 0.5, 0.8, loss, 0.9 + 0.01 * each, 0.001, 0.1) for each in (1, 2))
        weights = (np.zeros(3, np.float32),) if state is TrialState.COMPLETE else None
        tracker.trial_started(trial)
        for each in epochs:
            tracker.epoch_ended(trial, each)
        tracker.trial_ended(TrialRecord(trial, TrialResult(state, epochs, None, weights, 3, 0.2, reason=reason)))
    tracker.ended("INTERRUPTED")
    with ExitStack() as held:
        past = take_over(experiment, tracker.run_id, held).past
    first = {each.trial.number: each.result.epochs[0].metrics() for each in past.ended}
    assert first[1] == first[2] | {"val_loss": 0.1}
    assert first[2]["val_accuracy"] == 0.91
    assert first[0] == {"val_loss": 0.3}, "the third best becomes none"


@pytest.mark.parametrize("state", ["COMPLETE", "FAILED"])
def test_who_was_overtaken_does_not_close_the_sweep(state: str, made_store: Path) -> None:
    """A coordinator that slept with nothing left to send, while somebody went on with its sweep, ends with a line and leaves
    the run to the other."""
    experiment = load_experiment(EXPERIMENTS / "smoke.yaml")
    dataset = load_dataset("digits", validation=0.25, seed=0)
    tracker = MlflowTracker(experiment, dataset, current_commit(), {})
    tracker.settle()
    client, now = MlflowClient(f"sqlite:///{made_store}/mlflow.db"), datetime.datetime.now(datetime.UTC).isoformat()
    client.set_tag(tracker.run_id, TAG, claim_elsewhere(now))
    with pytest.raises(DigitsweepError, match="is being run by process 7 on elsewhere"):
        tracker.ended(state)
    run = client.get_run(tracker.run_id)
    assert (run.info.status, run.data.tags["digitsweep.state"]) == ("RUNNING", "RUNNING")


def claim_elsewhere(at: str) -> str:
    """What another machine's coordinator writes as its heartbeat."""
    return Claim("elsewhere", 7, at, "another", 1, "another", 0).tag()


def left(client: MlflowClient, experiment: Path, **tags: str) -> str:
    """The run of a sweep that was broken off as soon as it had been described, whose experiment file is gone."""
    known = {"digitsweep.kind": "sweep", "digitsweep.state": "RUNNING", **tags}
    known["digitsweep.digest"] = load_experiment(experiment).digest()
    found = client.get_experiment_by_name("digitsweep")
    run = client.create_run(found.experiment_id if found else client.create_experiment("digitsweep"), tags=known)
    client.log_param(run.info.run_id, "experiment", "gone/experiment.yaml")
    client.log_text(run.info.run_id, experiment.read_text(), "experiment.yaml")
    return str(run.info.run_id)


def test_a_sweep_that_runs_is_not_the_last(made_store: Path) -> None:
    """`last` and the advice before a new sweep pass over the sweeps that are being run, here or elsewhere; those whose
    coordinator is gone count again."""
    client, path = MlflowClient(f"sqlite:///{made_store}/mlflow.db"), EXPERIMENTS / "smoke.yaml"
    broken_off, here, elsewhere = (left(client, path) for _ in range(3))
    now = datetime.datetime.now(datetime.UTC)

    def alive(run_id: str, minutes_ago: int = 0) -> None:
        """Makes another machine the sweep's coordinator."""
        client.set_tag(run_id, TAG, claim_elsewhere((now - datetime.timedelta(minutes=minutes_ago)).isoformat()))

    with locked(broken_off):
        client.set_tag(broken_off, TAG, Claim.here(broken_off).tag())
    alive(elsewhere)
    experiment = load_experiment(path)
    with locked(here):
        client.set_tag(here, TAG, Claim.here(here).tag())
        assert find_unfinished("last").run_id == broken_off
        assert unfinished_like(client, experiment).endswith(broken_off)
    assert find_unfinished("last").run_id == here
    alive(elsewhere, minutes_ago=5)
    assert unfinished_like(client, experiment).endswith(elsewhere)
    alive(here, minutes_ago=5)
    with locked(here):
        assert find_unfinished("last").run_id == elsewhere
    alive(elsewhere)
    client.set_terminated(elsewhere, "KILLED")
    assert find_unfinished("last").run_id == elsewhere, "it was interrupted a moment ago"
    for run_id in (here, broken_off, elsewhere):
        client.update_run(run_id, status="RUNNING")
        alive(run_id)
    with pytest.raises(DigitsweepError, match=f"sweep {elsewhere} is being run by process 7 on elsewhere"):
        find_unfinished("last")


def test_a_fallback_is_not_asked_of_a_sweep_that_goes_on(made_store: Path) -> None:
    """What the experiment would have run instead of itself, which does not lie beside the kept copy, is not missed."""
    run_id = left(MlflowClient(f"sqlite:///{made_store}/mlflow.db"), EXPERIMENTS / "mnist.yaml")
    assert find_unfinished(run_id).experiment.digest() == load_experiment(EXPERIMENTS / "mnist.yaml").digest()


def test_images_beside_a_file_that_is_gone(made_store: Path) -> None:
    """Where the experiment file is gone, the images that lay beside it are found again, or those that --data names."""
    (made_store / "images").mkdir()
    path = made_store / "beside.yaml"
    path.write_text(SMALL_EXPERIMENT.replace("source: digits", "source: images"))
    tags = {"digitsweep.data.source": str(made_store / "images")}
    unfinished = find_unfinished(left(MlflowClient(f"sqlite:///{made_store}/mlflow.db"), path, **tags))
    path.unlink()
    with pytest.raises(InputError, match=f"{made_store}/images.* one npz file, but this one has"):
        sweep(unfinished, Options(), Listener())
    with pytest.raises(InputError, match=f"{made_store}/gone: no such folder"):
        sweep(unfinished, Options(data=made_store / "gone"), Listener())


CLAIMED = """\
name: claimed
question: How good is a softmax on these images?
data: {source: images.npz, validation: 0.25}
budget: {trials: 0, epochs: 1, seconds: 1}
register_models: false
families: {ann: {baselines: {softmax: {params: {hidden_layers: 0}, published_accuracy: 0.123}}}}
"""


@pytest.mark.parametrize("moved", [False, True])
def test_published_figures_stay_beside_their_own_images(moved: bool, made_store: Path) -> None:
    """A resumed sweep of images that lay beside the experiment file still shows the published figures, also where `--data`
    says that the images were moved."""
    images = write_npz(made_store / "images.npz", made_split(120, side=8), made_split(30, side=8, seed=1))
    path = made_store / "claimed.yaml"
    path.write_text(CLAIMED)
    _, dataset = prepare(path, Options(), Listener())
    tags = {"digitsweep.data.source": dataset.source, "digitsweep.data.digest": dataset.digest()}
    run_id = left(MlflowClient(f"sqlite:///{made_store}/mlflow.db"), path, **tags)
    path.unlink()
    options = Options(workers=1, data=images.rename(made_store / "moved.npz") if moved else None)
    comparison = sweep(find_unfinished(run_id), options, Listener())
    assert {each.published_accuracy for each in comparison.entries if each.role == "baseline"} == {0.123}


def test_a_relative_data_path_is_where_it_was(made_store: Path) -> None:
    """A sweep that was started with `--data images` finds them from any folder."""
    run_id = left(MlflowClient(f"sqlite:///{made_store}/mlflow.db"), EXPERIMENTS / "smoke.yaml", **{
        "digitsweep.data.source": "/somewhere/images"
    })  # fmt: skip
    MlflowClient(f"sqlite:///{made_store}/mlflow.db").log_param(run_id, "data", "images")
    assert find_unfinished(run_id).options.data == Path("/somewhere/images")


def test_another_engine_has_another_address() -> None:
    """A sweep from a Ray cluster can be resumed with local workers, and with another cluster."""
    begun = Options(engine="ray", address="head:10001", workers=4)
    assert begun.updated(Options(engine="local")) == Options(engine="local", workers=4)
    assert begun.updated(Options(address="other:10001")) == Options(engine="ray", address="other:10001", workers=4)
    assert begun.updated(Options()) == begun


def test_damaged_records_hold_up_neither_resuming_nor_repairing(made_store: Path) -> None:
    """What a power cut left of the records that waited is told, and the rest goes on."""
    client = MlflowClient(f"sqlite:///{made_store}/mlflow.db")
    run_id = left(client, EXPERIMENTS / "smoke.yaml")
    records = records_folder(run_id)
    records.mkdir(parents=True)
    told = f"1 damaged records in {records} were set aside as .damaged."
    (records / "000000001.zip").write_bytes(bytes(100))
    with ExitStack() as held:
        resumed = take_over(load_experiment(EXPERIMENTS / "smoke.yaml"), run_id, held)
    assert resumed.spool.notices == [told]
    (records / "000000001.zip").write_bytes(bytes(100))
    lines = list(reconcile())
    assert any(told in line for line in lines), lines
    assert client.get_run(run_id).info.status == "KILLED"
