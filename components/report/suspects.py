"""Labels that are probably wrong: confident learning on the answers of the network.

Source: Northcutt et al., "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021, section 3.1.
An image counts as one of class j when its probability of j reaches the mean probability of j among the
images labelled j; where that class is another than the label, the label is suspect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Suspect:
    """An image whose label the network confidently contradicts.

    Attributes:
      filename: path relative to the data folder.
      split: the split it lies in.
      label: the class that it is labelled with.
      suggestion: the class that it looks like.
      own, other: probabilities of the two.
    """

    filename: str
    split: str
    label: str
    suggestion: str
    own: float
    other: float


@dataclass(frozen=True)
class ClassSuspects:
    """Suspect labels by class.

    Attributes:
      name: the class.
      labelled: images labelled so that look like another class.
      resembling: images labelled otherwise that look like this class.
    """

    name: str
    labelled: int
    resembling: int

    @property
    def total(self) -> int:
        return self.labelled + self.resembling


def thresholds(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Mean probability of each class among the images labelled so; 1 for a class without images.

    Args:
      labels: int (n,), class indices.
      probabilities: float (n, classes).
    """
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    sums = np.bincount(labels, weights=own, minlength=classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), 1.0)


def suggestions(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The class that each image confidently belongs to; its label where there is none.

    Args:
      labels: int (n,), class indices.
      probabilities: float (n, classes).

    Returns:
      int (n,): among the classes that reach their threshold, the likeliest.
    """
    reached = probabilities >= thresholds(labels, probabilities)
    likeliest = np.where(reached, probabilities, -1.0).argmax(axis=1)
    # A network that is unsure of everything has low thresholds: what it finds likelier it must also say.
    contradicted = reached.any(axis=1) & (likeliest == probabilities.argmax(axis=1))
    return np.where(contradicted, likeliest, labels)


def find(
    filenames: Sequence[str],
    splits: Sequence[str],
    labels: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
) -> list[Suspect]:
    """Suspect labels, the most suspect first.

    Images that the network was trained on get thresholds of their own: it is surer of them, so together
    with the others they would hide each other's mistakes.

    Args:
      filenames: a path an image.
      splits: a split an image; `train` are those that the network was trained on.
      labels: int (n,), class indices.
      probabilities: float (n, classes).
      names: the classes.
    """
    trained_on = np.array([split == "train" for split in splits], bool)
    suggested = np.array(labels)
    for part in (trained_on, ~trained_on):
        if part.any():
            suggested[part] = suggestions(labels[part], probabilities[part])
    found = np.flatnonzero(suggested != labels)
    own, other = probabilities[found, labels[found]], probabilities[found, suggested[found]]
    order = found[np.argsort(own - other, kind="stable")]
    return [
        Suspect(
            filename=filenames[index],
            split=splits[index],
            label=names[labels[index]],
            suggestion=names[suggested[index]],
            own=float(probabilities[index, labels[index]]),
            other=float(probabilities[index, suggested[index]]),
        )
        for index in order
    ]


def by_class(found: Sequence[Suspect]) -> list[ClassSuspects]:
    """Suspects summed by class, the class with most of them first.

    A class takes part in a suspicion on either side. Where two classes only suspect each other, the one
    that images look like stands first: it is missing them.
    """
    labelled = Counter(one.label for one in found)
    resembling = Counter(one.suggestion for one in found)
    rows = [ClassSuspects(name, labelled[name], resembling[name]) for name in labelled | resembling]
    return sorted(rows, key=lambda row: (-row.total, -row.resembling, row.name))


def by_pair(found: Sequence[Suspect]) -> list[tuple[str, str, int]]:
    """Suspects by label and suggestion, the most frequent pair first."""
    counts = Counter((one.label, one.suggestion) for one in found)
    return [(label, suggestion, count) for (label, suggestion), count in counts.most_common()]
