"""The mistakes of models, by hand and for any predictions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import PROPERTY

from digitsweep.evaluation.mistakes import ClassifiedImage, ConfusedPair, Mistakes, Overlap, Prediction, find_mistakes
from digitsweep.evaluation.statistics import Share


def predictions(predicted: list[int], confidences: list[float], classes: int = 3) -> NDArray[np.float32]:
    """Probabilities that give each prediction its confidence, the rest to the other classes alike."""
    sure = np.array(confidences)
    given = np.repeat(((1.0 - sure) / (classes - 1))[:, None], classes, axis=1)
    given[np.arange(len(predicted)), predicted] = sure
    return given.astype(np.float32)


LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2], np.uint8)
ANN = predictions([0, 1, 1, 1, 0, 1, 1, 1], [0.9, 0.6, 0.8, 0.9, 0.95, 0.9, 0.99, 0.7])
CNN = predictions([0, 0, 2, 1, 0, 0, 1, 1], [0.9, 0.9, 0.7, 0.9, 0.92, 0.5, 0.97, 0.8])


@pytest.fixture
def found() -> Mistakes:
    return find_mistakes(LABELS, {"ANN": ANN, "CNN": CNN}, 3)


def test_recall_of_each_class(found: Mistakes) -> None:
    """Of each class, how many of its images each model gets right."""
    assert [each.label for each in found.classes] == [0, 1, 2]
    assert [each.recalls["ANN"] for each in found.classes] == [Share(1, 3), Share(2, 3), Share(0, 2)]
    assert [each.recalls["CNN"] for each in found.classes] == [Share(2, 3), Share(1, 3), Share(0, 2)]


def test_confused_pairs(found: Mistakes) -> None:
    """What is taken for what, the most frequent first, equals in the order of the classes."""
    assert found.confused["ANN"] == (ConfusedPair(0, 1, 2), ConfusedPair(2, 1, 2), ConfusedPair(1, 0, 1))
    assert found.confused["CNN"] == (ConfusedPair(1, 0, 2), ConfusedPair(2, 1, 2), ConfusedPair(0, 2, 1))


def test_galleries(found: Mistakes) -> None:
    """Each mistake stands in its gallery with what both say, the surest first; of a shared one the less sure counts."""
    galleries = found.galleries
    (image,) = galleries.only_first_wrong
    assert image == ClassifiedImage(1, 0, {"ANN": Prediction(1, float(ANN[1, 1])), "CNN": Prediction(0, float(CNN[1, 0]))})
    assert image.predictions["ANN"].confidence == pytest.approx(0.6)
    assert [each.index for each in galleries.only_second_wrong] == [5]
    assert [each.index for each in galleries.both_wrong] == [6, 4, 2, 7]  # 0.97, 0.92, 0.7 and 0.7
    assert [each.index for each in galleries.suspicious] == [6, 4]
    assert galleries.suspicious_count == 2


def test_a_gallery_holds_a_page(found: Mistakes) -> None:
    """At most so many images are shown, the first of all; the count is of all."""
    short = find_mistakes(LABELS, {"ANN": ANN, "CNN": CNN}, 3, shown=1).galleries
    assert short.both_wrong == found.galleries.both_wrong[:1]
    assert short.suspicious == found.galleries.suspicious[:1]
    assert short.suspicious_count == 2


def test_suspicious_means_the_same_wrong_class_with_confidence() -> None:
    """Two sure models that err differently, or one that is sure and one that is not, say nothing about the label; at 0.9
    both are sure."""
    labels = np.zeros(4, np.uint8)
    first = predictions([1, 1, 1, 1], [0.95, 0.95, 0.9, 0.95])
    second = predictions([2, 1, 1, 1], [0.95, 0.89, 0.9, 0.99])
    found = find_mistakes(labels, {"a": first, "b": second}, 3).galleries
    assert [each.index for each in found.suspicious] == [3, 2]
    assert len(found.both_wrong) == 4


def test_one_model_alone() -> None:
    """One model has its recalls, its pairs and its mistakes, the surest first."""
    found = find_mistakes(LABELS, {"CNN": CNN}, 3)
    assert found.confused == {"CNN": (ConfusedPair(1, 0, 2), ConfusedPair(2, 1, 2), ConfusedPair(0, 2, 1))}
    assert [each.index for each in found.galleries.only_first_wrong] == [6, 4, 7, 2, 5]
    assert set(found.galleries.only_first_wrong[0].predictions) == {"CNN"}
    assert found.galleries.only_second_wrong == found.galleries.both_wrong == found.galleries.suspicious == ()
    assert found.galleries.suspicious_count == 0


def test_no_model_is_refused() -> None:
    """There is nothing to find without a model."""
    with pytest.raises(ValueError, match="one model or more"):
        find_mistakes(LABELS, {}, 3)


def test_three_models() -> None:
    """What one of three gets wrong alone stands under its name, what all get wrong together; they are counted, too."""
    third = predictions([0, 1, 0, 1, 1, 1, 1, 2], [0.9] * 8)
    found = find_mistakes(LABELS, {"ANN": ANN, "CNN": CNN, "third": third}, 3)
    galleries = found.galleries
    assert {name: [each.index for each in shown] for name, shown in galleries.only_wrong.items()} == {
        "ANN": [],
        "CNN": [5],
        "third": [],
    }
    assert [each.index for each in galleries.both_wrong] == [6]
    assert [each.index for each in galleries.suspicious] == [6]
    assert galleries.only_first_wrong == galleries.only_second_wrong == ()
    assert found.overlap == Overlap(8, 2, 1, {"ANN": 0, "CNN": 1, "third": 0})
    assert set(galleries.both_wrong[0].predictions) == {"ANN", "CNN", "third"}


def test_a_class_without_test_images_is_left_out() -> None:
    """A class that the test set lacks has no recall, though it may be predicted."""
    found = find_mistakes(np.array([0, 2], np.uint8), {"ANN": predictions([1, 2], [0.9, 0.9])}, 3)
    assert [each.label for each in found.classes] == [0, 2]
    assert found.confused["ANN"] == (ConfusedPair(0, 1, 1),)


def test_all_confused_pairs() -> None:
    """Every confused pair is kept, the most frequent first: a matrix can be drawn from them."""
    labels = np.repeat(np.arange(10), np.arange(10)).astype(np.uint8)
    found = find_mistakes(labels, {"ANN": predictions(((labels + 1) % 10).tolist(), [0.9] * len(labels), 10)}, 10)
    assert [each.count for each in found.confused["ANN"]] == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert found.confused["ANN"][0] == ConfusedPair(9, 0, 9)


@PROPERTY
@given(seed=st.integers(0, 2**31 - 1), images=st.integers(1, 60))
def test_the_counts_add_up(seed: int, images: int) -> None:
    """Hits of the classes and galleries without a limit hold every image once; pairs count every mistake."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, images, dtype=np.uint8)
    made = {name: generator.dirichlet([0.3] * 3, images).astype(np.float32) for name in ("a", "b")}
    found = find_mistakes(labels, made, 3, shown=images)
    galleries = found.galleries
    wrong = {name: set(np.flatnonzero(each.argmax(axis=1) != labels).tolist()) for name, each in made.items()}
    only_a, only_b, both, suspicious = (
        [each.index for each in gallery]
        for gallery in (galleries.only_first_wrong, galleries.only_second_wrong, galleries.both_wrong, galleries.suspicious)
    )
    assert sorted(only_a + both) == sorted(wrong["a"])
    assert sorted(only_b + both) == sorted(wrong["b"])
    assert set(suspicious) <= set(both)
    sure_a, sure_b = (each.max(axis=1) for each in made.values())
    for indices, sureness in ((only_a, sure_a), (only_b, sure_b), (both, np.minimum(sure_a, sure_b))):
        assert np.all(np.diff(sureness[indices]) <= 0)
    assert galleries.suspicious_count == len(suspicious)
    for name in made:
        assert sum(each.recalls[name].hits for each in found.classes) == images - len(wrong[name])
        assert sum(each.recalls[name].total for each in found.classes) == images
        assert sum(each.count for each in found.confused[name]) == len(wrong[name])
