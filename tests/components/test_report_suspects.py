"""Suspect labels: the rule of the paper, and the order in which they are listed."""

from __future__ import annotations

import numpy as np
import pytest

from components.report import suspects

NAMES = ["ant", "bee", "cow"]


def _answers(count: int, seed: int = 0, certainty: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities that mostly agree with them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    logits = rng.normal(0, 1, (count, 3))
    logits[np.arange(count), labels] += certainty
    odds = np.exp(logits)
    return labels, odds / odds.sum(axis=1, keepdims=True)


def test_a_threshold_is_the_mean_confidence_in_images_labelled_so() -> None:
    labels, probabilities = _answers(200)
    found = suspects.thresholds(labels, probabilities)
    assert found == pytest.approx([probabilities[labels == index, index].mean() for index in range(3)])


def test_a_class_without_images_suggests_nothing() -> None:
    probabilities = np.array([[0.2, 0.1, 0.7], [0.6, 0.2, 0.2], [0.2, 0.6, 0.2]])
    assert suspects.suggestions(np.array([0, 0, 1]), probabilities).tolist() == [0, 0, 1]


def test_suggestions_follow_the_paper_image_by_image() -> None:
    labels, probabilities = _answers(500)
    thresholds = [probabilities[labels == index, index].mean() for index in range(3)]
    expected = []
    for label, row in zip(labels, probabilities, strict=True):
        confident = [index for index in range(3) if row[index] >= thresholds[index]]
        best = max(confident, key=lambda index: row[index], default=label)
        expected.append(best if row[best] == max(row) else label)
    assert suspects.suggestions(labels, probabilities).tolist() == expected
    assert (np.array(expected) != labels).any()


def test_planted_labels_are_found_and_few_others() -> None:
    labels, probabilities = _answers(2000, seed=1, certainty=4.0)
    rng = np.random.default_rng(2)
    planted = rng.choice(np.flatnonzero(labels == 1), 100, replace=False)
    given = labels.copy()
    given[planted] = 2
    found = suspects.find([str(index) for index in range(2000)], ["test"] * 2000, given, probabilities, NAMES)
    right = {int(one.filename) for one in found} & set(planted.tolist())
    assert len(right) > 55  # the mean is reached by little more than half of a class
    assert len(found) - len(right) < 40
    assert suspects.by_pair(found)[0][:2] == ("cow", "bee")
    assert suspects.by_class(found)[0].name == "bee"
    margins = [one.own - one.other for one in found]
    assert margins == sorted(margins)


def test_training_images_have_thresholds_of_their_own() -> None:
    """The network is surer of images it was trained on; together, few of the others would reach the mean."""
    sure = np.array([[0.99, 0.005, 0.005]] * 50 + [[0.005, 0.99, 0.005]] * 50)
    unsure = np.array([[0.7, 0.2, 0.1]] * 5 + [[0.2, 0.7, 0.1]] * 5)
    labels = np.array([0] * 50 + [1] * 50 + [0] * 4 + [1] + [1] * 5)
    splits = ["train"] * 100 + ["test"] * 10
    probabilities = np.concatenate([sure, unsure])
    found = suspects.find([str(index) for index in range(110)], splits, labels, probabilities, NAMES)
    assert [(one.filename, one.label, one.suggestion, one.split) for one in found] == [
        ("104", "bee", "ant", "test")
    ]


def test_where_two_classes_only_suspect_each_other_the_one_that_lost_images_is_first() -> None:
    found = [suspects.Suspect(str(index), "train", "ant", "cow", 0.1, 0.9) for index in range(4)]
    assert [(row.name, row.total) for row in suspects.by_class(found)] == [("cow", 4), ("ant", 4)]
