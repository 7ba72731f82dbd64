"""The stack of docker-compose.yml as tests use it: the real compose file and scripts, and requests over HTTP."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from running import ROOT

SERVER_IMAGE = "digitsweep-server:3.17.2"
FILES = 5
"""Of each trial, at least; what judging asks has its weights besides."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Stack:
    """A stack that the scripts in deploy/ work on, and the requests that it answers."""

    project: str
    env_file: Path
    port: int

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def secret(self, name: str) -> str:
        lines = dict(line.split("=", 1) for line in self.env_file.read_text().splitlines())
        return lines[name]

    def environment(self) -> dict[str, str]:
        """What a client sets to be this stack's admin."""
        return {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": self.secret("ADMIN_PASSWORD"),
        }

    def script(self, name: str, *arguments: str | Path, code: int = 0) -> str:
        """Runs deploy/NAME.sh; gives what it said on both streams."""
        return self._run(str(ROOT / "deploy" / f"{name}.sh"), *map(str, arguments), code=code)

    def compose(self, *arguments: str) -> str:
        return self._run("docker", "compose", *arguments)

    def containers(self) -> dict[str, Json]:
        """What Docker knows of each service's container."""
        found = self.inspect(self.compose("ps", "--all", "--quiet").split())
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in found}

    def inspect(self, containers: Sequence[str]) -> list[Json]:
        """What Docker knows of some containers, by their ids."""
        found: list[Json] = json.loads(self._run("docker", "inspect", *containers))
        return found

    def kill(self, service: str) -> None:
        """kill -9 of the container's first process, from outside: with `docker kill` it would stay away, as if by wish."""
        pid = self.containers()[service]["State"]["Pid"]
        command = ("docker", "run", "--rm", "--pid=host", "--user=0:0", "--entrypoint=sh", SERVER_IMAGE, "-c")
        self._run(*command, f"kill -9 {pid}")

    def start_proxy(self) -> tuple[str, Path]:
        """Starts the profile `tls`: its address, and the file of the authority that signed its certificate."""
        self.compose("--profile", "tls", "up", "--detach", "--wait", "proxy")
        port = self.containers()["proxy"]["NetworkSettings"]["Ports"]["443/tcp"][0]["HostPort"]
        authority = self.env_file.with_name("root.crt")

        def answers() -> bool:
            path = "/tmp/caddy/pki/authorities/local/root.crt"
            authority.write_text(self.compose("exec", "-T", "proxy", "cat", path))
            return requests.get(f"https://localhost:{port}/health", verify=str(authority), timeout=5).ok

        self.wait("health through the proxy", answers)
        return f"https://localhost:{port}", authority

    def stop_proxy(self) -> None:
        self.compose("--profile", "tls", "rm", "--force", "--stop", "proxy")

    def wait(self, what: str, holds: Callable[[], bool], seconds: float = 180) -> None:
        """Waits until something holds; errors of a server that is away count as no."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if holds():
                    return
            except (requests.RequestException, KeyError, AssertionError):
                pass
            time.sleep(0.5)
        raise AssertionError(f"not within {seconds:g} s: {what}\n{self.compose('logs', '--tail=50')}")

    def healed(self, service: str, restarts: int) -> bool:
        container = self.containers()[service]
        health = container["State"].get("Health", {"Status": "healthy"})["Status"]
        return bool(container["RestartCount"] > restarts and container["State"]["Running"] and health == "healthy")

    def request(self, method: str, path: str, user: tuple[str, str] | None = None, **options: Any) -> requests.Response:
        """A request of one user, by name and password, or of nobody."""
        return requests.request(method, self.uri + path, auth=user, timeout=60, **options)

    def admin(self, method: str, path: str, **options: Any) -> Json:
        """A request that the admin may make: the answer."""
        answer = self.request(method, path, ("admin", self.secret("ADMIN_PASSWORD")), **options)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        values: Json = answer.json()
        return values

    def runs(self, filter_string: str = "") -> list[Json]:
        """All runs, as the server answers over HTTP."""
        experiments = self.admin("POST", "/api/2.0/mlflow/experiments/search", json={"max_results": 1000})["experiments"]
        query = {
            "experiment_ids": [each["experiment_id"] for each in experiments],
            "filter": filter_string,
            "max_results": 5000,
        }
        answer = self.admin("POST", "/api/2.0/mlflow/runs/search", json=query)
        assert "next_page_token" not in answer
        return list(answer.get("runs", []))

    def children(self, sweep: str, kind: str) -> list[Json]:
        """The runs of one kind below a sweep's, by its id."""
        return self.runs(f"tags.`mlflow.parentRunId` = '{sweep}' AND tags.`digitsweep.kind` = '{kind}'")

    def run(self, run_id: str) -> Json:
        answer: Json = self.admin("GET", "/api/2.0/mlflow/runs/get", params={"run_id": run_id})["run"]
        return answer

    def files(self, folder: str = "") -> dict[str, str]:
        """Every artifact below a folder, those of models too: its sha256 by its path, each downloaded."""
        listed = self.admin("GET", "/api/2.0/mlflow-artifacts/artifacts", params={"path": folder})
        found: dict[str, str] = {}
        for each in listed.get("files", []):
            path = f"{folder}/{each['path']}" if folder else each["path"]
            if each["is_dir"]:
                found |= self.files(path)
            else:
                user = ("admin", self.secret("ADMIN_PASSWORD"))
                answer = self.request("GET", f"/api/2.0/mlflow-artifacts/artifacts/{path}", user)
                assert answer.ok, path
                found[path] = hashlib.sha256(answer.content).hexdigest()
        return found

    def versions(self) -> list[Json]:
        """Every version of every registered model."""
        answer = self.admin("GET", "/api/2.0/mlflow/model-versions/search", params={"max_results": 1000})
        return sorted(answer["model_versions"], key=lambda each: (each["name"], each["version"]))

    def champion(self, name: str) -> str:
        """The version of a registered model that has the alias."""
        query = {"name": name, "alias": "champion"}
        answer = self.admin("GET", "/api/2.0/mlflow/registered-models/alias", params=query)
        return str(answer["model_version"]["version"])

    def everything(self) -> Json:
        """All that a client can see: runs, artifacts, versions, aliases, users."""
        models = self.admin("GET", "/api/2.0/mlflow/registered-models/search")["registered_models"]
        users = self.admin("GET", "/api/2.0/mlflow/users/list")["users"]
        return {
            "runs": in_order(self.runs()),
            "files": self.files(),
            "versions": in_order(self.versions()),
            "aliases": in_order([[each["name"], each.get("aliases", [])] for each in models]),
            "users": sorted(each["username"] for each in users),
        }

    def start(self, output: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """Begins a command of Compose, whose output goes to a file."""
        command = ["docker", "compose", *arguments]
        with output.open("w") as file:
            return subprocess.Popen(command, cwd=ROOT, env=self._variables(), stdout=file, stderr=subprocess.STDOUT)

    def _variables(self) -> dict[str, str]:
        places = {"COMPOSE_ENV_FILES": str(self.env_file), "BACKUPS": str(self.env_file.parent / "backups")}
        return {**os.environ, **places, "COMPOSE_PROJECT_NAME": self.project}

    def _run(self, *command: str, code: int = 0) -> str:
        finished = subprocess.run(
            command,
            cwd=ROOT,
            env=self._variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if command[0].endswith(".sh") else subprocess.PIPE,
            text=True,
            check=False,
        )
        assert finished.returncode == code, f"{command}: {finished.returncode}\n{finished.stdout}\n{finished.stderr}"
        return finished.stdout


def assert_confined(container: Mapping[str, Any]) -> None:
    """A container does not run as root, write its own files, have a capability, see Docker's socket or listen to others."""
    service, host = container["Config"]["Labels"]["com.docker.compose.service"], container["HostConfig"]
    assert container["Config"]["User"] not in ("", "0", "root", "0:0"), service
    assert host["ReadonlyRootfs"], service
    assert host["CapDrop"] == ["ALL"], service
    assert not host["CapAdd"], service
    assert not host["Privileged"], service
    assert any(each.startswith("no-new-privileges") for each in host["SecurityOpt"]), service
    assert host["Memory"] > 0, service
    assert host["RestartPolicy"]["Name"] == "unless-stopped", service
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}, service
    assert not [each for each in container["Mounts"] if "docker.sock" in each["Source"]], service
    for ports in (container["NetworkSettings"]["Ports"] or {}).values():
        assert {each["HostIp"] for each in ports or []} <= {"127.0.0.1"}, service


def assert_whole(stack: Stack, trials: Sequence[Json]) -> None:
    """Each trial has ended, with every value of every epoch and every file."""
    files = stack.files()
    assert {run["info"]["status"] for run in trials} <= {"FINISHED", "KILLED"}
    for run in trials:
        query = {"run_id": run["info"]["run_id"], "metric_key": "val_accuracy"}
        history = stack.admin("GET", "/api/2.0/mlflow/metrics/get-history", params=query)["metrics"]
        values = {int(each["step"]): float(each["value"]) for each in history}
        assert [values[step] for step in sorted(values)] == json.loads(tags(run)["digitsweep.trial"])["values"]
        assert len([path for path in files if path.startswith(artifacts(run))]) >= FILES


def in_order(value: Any) -> Any:
    """A value of JSON, its lists sorted: a database gives rows in any order."""
    if isinstance(value, dict):
        return {key: in_order(each) for key, each in value.items()}
    if isinstance(value, list):
        return sorted((in_order(each) for each in value), key=lambda each: json.dumps(each, sort_keys=True))
    return value


def artifacts(run: Mapping[str, Any]) -> str:
    """The folder that a run's artifacts lie in, as `Stack.files` has it."""
    return f"{run['info']['experiment_id']}/{run['info']['run_id']}/artifacts/"


def tags(run: Mapping[str, Any]) -> dict[str, str]:
    pairs: Sequence[Mapping[str, str]] = run["data"].get("tags", [])
    return {each["key"]: each["value"] for each in pairs}
