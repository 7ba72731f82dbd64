"""Who may do what: nobody without a password, nobody by another host name, and each their own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from stacked import Stack, artifacts

pytestmark = pytest.mark.stack

ADA = ("ada", "a long password of ada")
BEN = ("ben", "a long password of ben")

# Asks the server's own code, in its container, for every route that it has: those of Flask and those of FastAPI.
ROUTES = """
import json, logging
from mlflow.server import app
from mlflow.server.auth import create_app
logging.disable()
served = create_app()
routes = [(rule.rule, sorted(rule.methods)) for rule in app.url_map.iter_rules()]
def native(several):
    for route in several:
        if getattr(route, "methods", None):
            yield route.path, sorted(route.methods)
        yield from native(getattr(getattr(route, "original_router", None), "routes", []))
routes += native(served.routes)
print(json.dumps(routes))
"""
# What MLflow shows to everybody: that it lives, its scripts and pictures, and what it can do (without any data).
OPEN = re.compile(r"/health|/static.*|/(ajax-)?api/3\.0/mlflow/server-info")


@pytest.fixture(scope="module")
def users(stack: Stack) -> Iterator[None]:
    """The admin has made users of Ada and Ben."""
    for name, password in (ADA, BEN):
        stack.admin("POST", "/api/2.0/mlflow/users/create", json={"username": name, "password": password})
    yield
    for name, _ in (ADA, BEN):
        stack.admin("DELETE", "/api/2.0/mlflow/users/delete", json={"username": name})


def test_without_credentials(stack: Stack) -> None:
    """Every route of the server says 401 to whom has no password, or a wrong one, but for health and what holds no data."""
    command = ("exec", "-T", "-e", "_MLFLOW_SGI_NAME=uvicorn", "server", "python", "-c", ROUTES)
    routes = json.loads(stack.compose(*command).splitlines()[-1])
    assert len(routes) > 300
    closed = 0
    for rule, methods in routes:
        path = re.sub(r"<[^>]+>|\{[^}]+\}", "1", rule)
        if OPEN.fullmatch(rule.replace("<path:filename>", "")):
            continue
        for method in set(methods) - {"HEAD", "OPTIONS"}:
            for user in (None, ("admin", "a wrong password")) if closed % 50 == 0 else (None,):
                answer = stack.request(method, path, user, json={} if method != "GET" else None)
                assert answer.status_code == 401, f"{method} {path}: {answer.status_code}"
            closed += 1
    assert closed > 300
    assert stack.request("GET", "/health").status_code == 200


def test_with_a_wrong_host(stack: Stack) -> None:
    """A request by another host name is refused, password or not."""
    admin = ("admin", stack.secret("ADMIN_PASSWORD"))
    for user in (None, admin):
        for path in ("/", "/api/2.0/mlflow/experiments/get?experiment_id=0", "/api/2.0/mlflow-artifacts/artifacts"):
            answer = stack.request("GET", path, user, headers={"Host": "elsewhere.example"})
            assert answer.status_code == 403, path
    assert stack.request("GET", "/", admin, headers={"Host": f"localhost:{stack.port}"}).status_code == 200


@pytest.mark.usefixtures("users")
def test_a_sweep_of_somebody_else(stack: Stack, swept: str) -> None:
    """Who signs in may read a sweep that is not theirs, and write nothing to it until the permission is given."""
    info = stack.run(swept)["info"]
    api, mlflow = "/api/2.0/mlflow-artifacts/artifacts", "/api/2.0/mlflow"
    file = f"{api}/{artifacts(stack.run(swept))}experiment.yaml"
    assert stack.request("GET", f"{mlflow}/runs/get", BEN, params={"run_id": swept}).status_code == 200
    assert stack.request("GET", file, BEN).status_code == 200
    run = {"run_id": swept}
    alias = {"name": "digits-cnn", "alias": "champion", "version": "1"}
    for method, path, options in (
        ("POST", f"{mlflow}/runs/log-batch", {"json": {**run, "metrics": []}}),
        ("POST", f"{mlflow}/runs/set-tag", {"json": {**run, "key": "note", "value": "x"}}),
        ("POST", f"{mlflow}/runs/update", {"json": {**run, "status": "FAILED"}}),
        ("POST", f"{mlflow}/runs/delete", {"json": run}),
        ("POST", f"{mlflow}/runs/create", {"json": {"experiment_id": info["experiment_id"]}}),
        ("POST", f"{mlflow}/registered-models/alias", {"json": alias}),
        ("POST", f"{mlflow}/model-versions/create", {"json": {"name": "digits-cnn", "source": "models:/m-1"}}),
        ("PUT", file, {"data": b"changed"}),
        ("DELETE", file, {}),
    ):
        answer = stack.request(method, path, BEN, **options)
        assert answer.status_code == 403, f"{method} {path}: {answer.status_code} {answer.text}"
    grant = {"username": "ben", "resource_type": "experiment", "resource_id": info["experiment_id"], "permission": "EDIT"}
    stack.admin("POST", "/api/3.0/mlflow/users/permissions/grant", json=grant)
    tag = {**run, "key": "ben", "value": "was here"}
    grant = {"username": "ben", "resource_type": "registered_model", "resource_id": "digits-cnn", "permission": "EDIT"}
    stack.admin("POST", "/api/3.0/mlflow/users/permissions/grant", json=grant)
    assert stack.request("POST", f"{mlflow}/registered-models/alias", BEN, json=alias).status_code == 403, "needs MANAGE"
    assert stack.request("POST", f"{mlflow}/runs/set-tag", BEN, json=tag).status_code == 200


@pytest.mark.usefixtures("users")
def test_a_sweep_of_ones_own(stack: Stack) -> None:
    """Who makes an experiment may write to it; another one who signs in may not."""
    made = stack.request("POST", "/api/2.0/mlflow/experiments/create", ADA, json={"name": "ada's"})
    run = {"experiment_id": made.json()["experiment_id"]}
    assert stack.request("POST", "/api/2.0/mlflow/runs/create", ADA, json=run).status_code == 200
    assert stack.request("POST", "/api/2.0/mlflow/runs/create", BEN, json=run).status_code == 403
