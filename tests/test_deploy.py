"""What starts a cluster: the RayJob for Kubernetes, and the scripts in deploy/."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from running import ROOT, Sweep

MANIFEST = ROOT / "deploy" / "kuberay" / "rayjob.yaml"
SCRIPTS = sorted(path for path in (ROOT / "deploy").rglob("*") if path.suffix in (".sh", ".sbatch"))
SLURM = ROOT / "deploy" / "slurm" / "sweep.sbatch"


@pytest.fixture
def rayjob() -> Any:
    return next(each for each in yaml.safe_load_all(MANIFEST.read_text()) if each["kind"] == "RayJob")


def wrong(document: Any, schema: Any) -> list[str]:
    """What a schema finds wrong in a document."""
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed; the extra `dev` has it")
    errors = jsonschema.Draft7Validator(schema).iter_errors(document)
    return [f"{each.json_path}: {each.message}" for each in errors]


def test_the_rayjob_fits_its_schema(rayjob: Any) -> None:
    """The manifest has only fields of a RayJob, each of its type; a misspelt or missing one is found."""
    schema = yaml.safe_load((ROOT / "tests" / "rayjob.schema.yaml").read_text())
    assert wrong(rayjob, schema) == []
    misspelt, incomplete, quoted = (copy.deepcopy(rayjob) for _ in range(3))
    misspelt["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replica"] = 3
    del incomplete["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    quoted["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["rayStartParams"]["num-cpus"] = 4
    assert all(len(wrong(each, schema)) == 1 for each in (misspelt, incomplete, quoted))


def test_the_rayjob_fits_kuberays_definition(rayjob: Any) -> None:
    """The manifest fits the resource definition that KubeRay installs (`ray.io_rayjobs.yaml`), where one is at hand."""
    path = os.environ.get("DIGITSWEEP_TEST_RAYJOB_CRD")
    if path is None:
        pytest.skip("DIGITSWEEP_TEST_RAYJOB_CRD does not name KubeRay's ray.io_rayjobs.yaml")
    versions = yaml.safe_load(Path(path).read_text())["spec"]["versions"]
    (schema,) = (each["schema"]["openAPIV3Schema"] for each in versions if each["name"] == "v1")
    for part in parts(schema):
        if "properties" in part:
            part.setdefault("additionalProperties", False)
    schema["properties"]["metadata"] = {"type": "object"}  # which the API server checks
    assert wrong(rayjob, schema) == []


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """A schema and all those within it."""
    if isinstance(schema, dict):
        yield schema
    for each in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from parts(each)


def test_the_rayjob_is_confined(rayjob: Any) -> None:
    """No pod of the job runs as root, writes to its own files or gets a token of Kubernetes; workers do not get the tracking
    server's password, and a policy covers the pods by their label."""
    spec = rayjob["spec"]["rayClusterSpec"]
    workers = [each["template"] for each in spec["workerGroupSpecs"]]
    for template in (rayjob["spec"]["submitterPodTemplate"], spec["headGroupSpec"]["template"], *workers):
        pod = template["spec"]
        assert template["metadata"]["labels"] == {"app": "digitsweep"}
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            mounted = {each["name"] for each in container["volumeMounts"]}
            assert mounted == {each["name"] for each in pod["volumes"]}
    assert not any("envFrom" in container for each in workers for container in each["spec"]["containers"])
    (policy,) = (each for each in yaml.safe_load_all(MANIFEST.read_text()) if each["kind"] == "NetworkPolicy")
    assert policy["spec"]["podSelector"] == {"matchLabels": {"app": "digitsweep"}}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_scripts_can_be_parsed(script: Path) -> None:
    """Bash finds no error in a script."""
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.ray
def test_the_slurm_script_sweeps(tmp_path: Path) -> None:
    """With `srun` and `scontrol` that know only this machine, the script starts a cluster and sweeps on it."""
    srun = 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"'
    for name, body in (("srun", srun), ("scontrol", "echo 127.0.0.1")):
        path = tmp_path / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    programs = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "127.0.0.1", "SLURM_JOB_NUM_NODES": "1"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            ["bash", SLURM, "smoke", "--trials", "3"],
            cwd=tmp_path,
            env={**os.environ, **job, "SLURM_CPUS_PER_TASK": "1", "PATH": programs},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        assert process.wait(timeout=600) == 0, (tmp_path / "log").read_text()
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # what Slurm does with the steps of a job that has ended
    sweep = Sweep(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", (tmp_path / "log").read_text())
    assert sweep.parent().info.status == "FINISHED"
