"""Running digitsweep as a person does: as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

ROOT = Path(__file__).parent.parent
EXPERIMENTS = ROOT / "experiments"


def run_digitsweep(*arguments: str, cwd: Path, seconds: float = 180, **environment: str) -> subprocess.CompletedProcess[str]:
    """`digitsweep ARGUMENTS` in a folder, with some variables more."""
    return subprocess.run(
        [sys.executable, "-m", "digitsweep", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def brief_experiment(path: Path) -> Path:
    """Writes smoke.yaml with the fewest trainings after its search, for tests that look at something else."""
    text = (EXPERIMENTS / "smoke.yaml").read_text()
    brief = text.replace("{top: 2, seeds: 2, confirm: 3}", "{top: 1, seeds: 1, confirm: 1}")
    assert brief != text
    path.write_text(brief)
    return path


@dataclass(frozen=True)
class Sweep:
    """A sweep that was run, and where its records are."""

    folder: Path
    uri: str
    output: str

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def runs(self, kind: str) -> list[Run]:
        client = self.client
        experiments = [each.experiment_id for each in client.search_experiments()]
        return list(client.search_runs(experiments, f"tags.`digitsweep.kind` = '{kind}'", max_results=1000))

    def parent(self) -> Run:
        (run,) = (each for each in self.runs("sweep") if "digitsweep.digest" in each.data.tags)
        return run

    def artifacts(self, run: Run, folder: str | None = None) -> set[str]:
        return {each.path for each in self.client.list_artifacts(run.info.run_id, folder)}

    def artifact(self, run: Run, path: str) -> bytes:
        return Path(self.client.download_artifacts(run.info.run_id, path)).read_bytes()
