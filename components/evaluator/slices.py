"""Parts of a split by the ingest's figures: quarters of brightness, sharpness and the like, and folders."""

from __future__ import annotations

import itertools

import numpy as np

from components.evaluator.answers import Answers
from components.evaluator.settings import SliceName

_FOLDERS = 50  # the largest so many are told apart
_OTHER = "other folders"


def columns(answers: Answers, names: tuple[SliceName, ...]) -> dict[str, np.ndarray]:
    """For each figure the part that each image falls in, unicode (n,), such as `0.21 to 0.36`.

    A figure that does not tell images apart, such as the size of equally large ones, is left out.
    """
    found = {name: _column(answers, name) for name in names}
    return {name: column for name, column in found.items() if len(np.unique(column)) > 1}


def _column(answers: Answers, name: SliceName) -> np.ndarray:
    if name == "source":
        return _folders(answers)
    if name == "size":
        return _quarters(np.sqrt(answers.width * answers.height), "{:.0f} to {:.0f} px")
    return _quarters(getattr(answers, name), "{:.3f} to {:.3f}")


def _quarters(values: np.ndarray, label: str) -> np.ndarray:
    """Parts between the quartiles of this split, so that each holds enough images to say something."""
    edges = np.unique(np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))
    if len(edges) < 2:
        return np.full(len(values), "all")
    part = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    labels = [label.format(low, high) for low, high in itertools.pairwise(edges)]
    return np.array(labels)[part]


def _folders(answers: Answers) -> np.ndarray:
    """Source folders; where every class lies in one folder of its own they say what the class says."""
    pairs = set(zip(answers.source.tolist(), answers.label.tolist(), strict=True))
    if len(pairs) == len({label for _, label in pairs}):
        return np.full(len(answers), "all")
    names, counts = np.unique(answers.source, return_counts=True)
    largest = names[np.argsort(-counts, kind="stable")[:_FOLDERS]]
    return np.where(np.isin(answers.source, largest), answers.source, _OTHER)
