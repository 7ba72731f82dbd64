"""Model cards: what a registered model is, what it was trained on, and how accurate it is, in the form of the Hugging Face
Hub (https://huggingface.co/docs/hub/model-cards)."""

from __future__ import annotations

from typing import Any

import yaml

from digitsweep.evaluation.comparison import Comparison, Entry
from digitsweep.report.format import plural, times
from digitsweep.report.page import environment
from digitsweep.report.sentences import cautions, how_chosen

LICENSE = "unknown"
"""The Hub's term. digitsweep does not know the license of the images."""
MOST_CLASSES = 20
"""Names of classes are listed up to this many."""
CONFUSED = 3
"""How many pairs of classes are listed."""


def cards(comparison: Comparison) -> dict[str, bytes]:
    """The card of each registered model of a sweep, with the Hub's front matter, by file name."""
    return {
        f"model-card-{each.family}.md": f"---\n{front_matter(comparison, each)}---\n\n{card(comparison, each)}".encode()
        for each in comparison.best()
        if each.model
    }


def card(comparison: Comparison, entry: Entry) -> str:
    """The sections of a model's card, in Markdown."""
    images = comparison.data["images"]
    values = {
        "comparison": comparison,
        "entry": entry,
        "name": _name(entry),
        "data": comparison.data,
        "classes": comparison.data.get("classes", ()),
        "most_classes": MOST_CLASSES,
        "refitted": entry.trained_on == images["train"] + images["validation"],
        "chosen": how_chosen(comparison, entry),
        "limitations": _limitations(comparison, entry),
    }
    return environment().get_template("card.md.jinja").render(values)


def front_matter(comparison: Comparison, entry: Entry) -> str:
    """What the Hub reads of a card, as YAML: its tags, and the figures on the test images."""
    metrics: list[dict[str, Any]] = []
    if entry.test:
        metrics.append({"type": "accuracy", "name": "Test accuracy", "value": round(entry.test.accuracy, 6)})
    if entry.averages:
        metrics.append({"type": "f1", "name": "Test macro F1", "value": round(entry.averages.macro_f1.value, 6)})
    data = str(comparison.data["name"])
    result = {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {"type": data, "name": data, "split": "test"},
        "metrics": metrics,
    }
    values = {
        "license": LICENSE,
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "keras", "mlflow", "digitsweep", entry.family],
        "metrics": [each["type"] for each in metrics],
        **({"model-index": [{"name": _name(entry), "results": [result]}]} if metrics else {}),
    }
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000)


def _name(entry: Entry) -> str:
    """Of the registered model, from its URI."""
    return entry.model.removeprefix("models:/").rpartition("/")[0]


def _limitations(comparison: Comparison, entry: Entry) -> list[str]:
    found = cautions(comparison)
    if entry.test:
        found.append(
            "The intervals cover the choice of test images only, not images from another source or training with another "
            "seed."
        )
    if comparison.opened_before:
        found.append(
            f"The same test images had been opened before: {times(comparison.opened_before, comparison.models_before)}."
        )
    mistakes = comparison.mistakes
    pairs = mistakes.confused.get(comparison.name_of(entry).removeprefix("best "), ()) if mistakes else ()
    if pairs:
        told = [
            f"{comparison.class_name(each.true)} for {comparison.class_name(each.predicted)} ({plural(each.count, 'image')})"
            for each in pairs[:CONFUSED]
        ]
        found.append(f"The classes that it confused most often in the test set: {', '.join(told)}.")
    return [*found, "The license is unknown. State it, and the source of the images, before you publish this card."]
