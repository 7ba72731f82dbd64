"""`mlflow models serve`, as a person starts it: the champions answer over HTTP, from processes of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from running import ROOT, Sweep
from servers import asked, served, wait_for_model

from digitsweep.data.sources import load_dataset


@pytest.mark.slow
def test_both_champions_answer_over_http(smoke: Sweep, tmp_path: Path) -> None:
    """Each champion, served by MLflow, reads the test images with the recorded accuracy; a wrong request gets status 400."""
    shutil.copy(smoke.folder / "mlflow.db", tmp_path)
    store = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(store)
    for family in ("ann", "cnn"):
        version = client.get_model_version_by_alias(f"digits-{family}", "challenger").version
        client.set_registered_model_alias(f"digits-{family}", "champion", version)
    test = load_dataset("digits", validation=0.25, seed=0).test.open("test_serving")
    with served("digits-ann@champion", store, tmp_path) as ann, served("digits-cnn@champion", store, tmp_path) as cnn:
        for family, address in (("ann", ann), ("cnn", cnn)):
            wait_for_model(address)
            status, answer = asked(address, {"inputs": test.images.tolist()})
            assert status == 200
            probabilities = np.array(answer["predictions"])
            assert probabilities.shape == (len(test), 10)
            np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
            accuracy = float((probabilities.argmax(axis=1) == test.labels).mean())
            assert accuracy == smoke.parent().data.metrics[f"{family}_test_accuracy"]
            questions: list[object] = [{"inputs": [[0, 1]]}, {"images": []}, {"inputs": np.full((1, 8, 8, 1), 300).tolist()}]
            for wrong in questions:
                status, answer = asked(address, wrong)
                assert status == 400
                assert answer["message"]


def test_the_page_shows_the_request() -> None:
    """The page about reading digits shows the JSON of the request and of the answer."""
    page = (ROOT / "docs" / "predicting.md").read_text()
    assert '{"inputs": [' in page
    assert '{"predictions": [' in page
