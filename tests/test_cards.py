"""Model cards: the form of the Hugging Face Hub, the figures of the comparison, and text that stays text."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import samples
import yaml
from hypothesis import given
from hypothesis import strategies as st
from running import Sweep
from support import PROPERTY
from test_markdown import ODD, words

from digitsweep.registry.versions import MOST_DESCRIPTION
from digitsweep.report.card import card, cards


def parts(text: str) -> tuple[dict[str, Any], str]:
    """The front matter of a card, and what follows it."""
    empty, front, body = text.split("---\n", 2)
    assert not empty
    values = yaml.safe_load(front)
    assert isinstance(values, dict)
    return values, body.lstrip("\n")


def test_a_card_has_the_form_of_the_hub() -> None:
    """The Hub's own reader finds license, tags and library in a card, and takes the test accuracy as a result of a model on
    a dataset."""
    hub = pytest.importorskip("huggingface_hub", reason="huggingface-hub is not installed (the extra dev)")
    for name, content in cards(samples.comparison()).items():
        found = hub.ModelCard(content.decode())
        assert (found.data.license, found.data.library_name) == ("unknown", "keras")
        assert "image-classification" in found.data.tags
        (result,) = found.data.eval_results
        assert (result.task_type, result.dataset_type, result.metric_type) == ("image-classification", "mnist", "accuracy")
        assert result.metric_value == {"model-card-ann.md": 0.9908, "model-card-cnn.md": 0.9959}[name]
        assert found.data.model_name == name.replace("model-card-", "mnist-").removesuffix(".md")


def test_a_card_has_the_figures(smoke: Sweep) -> None:
    """The card of a sweep's model has its test accuracy with its interval, and is the description of the version."""
    metrics = smoke.parent().data.metrics
    for family in ("ann", "cnn"):
        front, body = parts(smoke.artifact(smoke.parent(), f"comparison/model-card-{family}.md").decode())
        (result,) = front["model-index"][0]["results"]
        values = {each["type"]: each["value"] for each in result["metrics"]}
        assert front["model-index"][0]["name"] == f"digits-{family}"
        assert values["accuracy"] == pytest.approx(metrics[f"{family}_test_accuracy"], abs=1e-6)
        assert values["f1"] == pytest.approx(metrics[f"{family}_test_macro_f1"], abs=1e-6)
        assert f"| accuracy | {100 * metrics[f'{family}_test_accuracy']:.2f} % |" in body
        assert [line for line in body.splitlines() if line.startswith("#")] == [
            f"# digits-{family}",
            *(f"## {title}" for title in ("Intended use", "Training data", "Evaluation", "Limitations", "Hyperparameters")),
        ]
        version = smoke.client.get_model_version_by_alias(f"digits-{family}", "challenger")
        assert version.description == body
        assert len(body) < MOST_DESCRIPTION


def test_models_that_are_not_registered_have_no_card() -> None:
    """A sweep with `register_models: false` writes no card."""
    whole = samples.comparison()
    entries = tuple(dataclasses.replace(each, model="") for each in whole.entries)
    assert not cards(dataclasses.replace(whole, entries=entries))


@PROPERTY
@given(st.text(st.characters(exclude_categories=("C", "Z"))).map(lambda text: f"{text}{ODD}"))
def test_names_are_text(text: str) -> None:
    """Whatever experiment, data, network and classes are called, a card has it as text, not as markup, HTML or YAML."""
    whole = samples.comparison()
    data = {**whole.data, "name": text, "classes": [text] * 3}
    entries = tuple(dataclasses.replace(each, network=text) for each in whole.entries)
    odd = dataclasses.replace(whole, experiment=text, question=text, verdict=text, data=data, entries=entries)
    best = odd.best()[0]
    found = words(card(odd, best))
    assert any(each.startswith(f"{text}, with 1,621,258 weights") for each in found)
    assert any(f"as one of its classes: {text}, {text} and {text}." in each for each in found)
    for content in cards(odd).values():
        front, _ = parts(content.decode())
        assert front["model-index"][0]["results"][0]["dataset"]["name"] == text


def test_many_classes_are_counted() -> None:
    """The names of more than twenty classes are not listed."""
    whole = samples.comparison()
    odd = dataclasses.replace(whole, data={**whole.data, "classes": [f"class {number}" for number in range(100)]})
    assert "as one of its 100 classes." in card(odd, odd.best()[0])
