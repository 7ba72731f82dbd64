"""Who may make a champion on the tracking server: whoever has MANAGE on the registered model, and admins.

MLflow asks for EDIT alone, so that whoever may register versions could set the alias `champion` without asking a gate, or
rename the model and put another one in its place. This is the server's `authorization_function` (basic_auth.ini): it signs
people in as MLflow's own function does, then refuses to others what makes a champion: to set the alias, to rename a
registered model, and to write to its ledger, whose records the next promotion would carry out."""

from __future__ import annotations

from flask import Response, g, request
from mlflow.server import auth
from werkzeug.datastructures import Authorization

CHAMPION, LEDGER = "champion", "-ledger"
"""As `digitsweep.registry.ledger` writes them."""


def authenticate() -> Authorization | Response:
    """Who asks, or why they may not."""
    asks = auth.authenticate_request_basic_auth()
    if isinstance(asks, Response) or g.get("champions_checked"):
        return asks
    name = _crowned()
    if name is None:
        return asks
    g.champions_checked = True  # what looks the permission up asks who asks, and so comes here again
    if auth.sender_is_admin() or auth._get_registered_model_or_prompt_permission(name).can_manage:
        return asks
    said = f"Only who has MANAGE on the registered model {name} may change its champion, rename it, or write to its ledger."
    return Response(said, 403, mimetype="text/plain")


def _crowned() -> str | None:
    """The registered model whose champion a request could change; None for all other requests."""
    body = request.get_json(silent=True) if request.method in ("POST", "PATCH") else None
    if not isinstance(body, dict) or not isinstance(name := body.get("name"), str):
        return None  # MLflow refuses what it cannot read, by the same reading
    path = request.path
    if path.endswith("/registered-models/alias") and body.get("alias") == CHAMPION:
        return name
    if path.endswith("/registered-models/rename"):
        return name
    if "/model-versions/" in path and name.endswith(LEDGER):
        return name.removesuffix(LEDGER)
    return None
