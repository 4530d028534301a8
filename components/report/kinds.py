"""The plots of the report one by one, by name. Importing this loads neither TensorFlow nor matplotlib."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modules.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from components.report.context import Context


@dataclass(frozen=True)
class Kind:
    """A plot: what it shows, and which part of which section draws it.

    Attributes:
      summary: for the list of kinds.
      section, part: module and function.
      place: which of the part's plots it is.
    """

    summary: str
    section: str
    part: str
    place: int = 0


KINDS = {
    "balance": Kind("images of every class by split", "data", "balance"),
    "histograms": Kind("levels of the pixels before and after scaling", "data", "histograms"),
    "samples": Kind("images of every class", "data", "samples"),
    "augmentation": Kind("images as training sees them", "data", "augmentation"),
    "trials": Kind("score of every trial of a search", "tuning", "scores"),
    "parallel": Kind("values and scores of all trials of a search", "tuning", "parallel"),
    "curves": Kind("loss and accuracy by epoch", "training", "curves"),
    "pace": Kind("learning rate and images a second by epoch", "training", "speed"),
    "diagram": Kind("the layers as blocks", "network", "diagram"),
    "kernels": Kind("kernels of the first layer before and after training", "network", "kernels"),
    "features": Kind("feature maps of each convolution stage", "network", "feature_maps"),
    "confusion": Kind("confusion matrix", "mistakes", "confusion"),
    "gradcam": Kind("most confident errors, and what the network looked at", "mistakes", "errors"),
    "suspects": Kind("images whose labels are probably wrong", "mistakes", "suspect_labels"),
    "reliability": Kind("accuracy by confidence", "mistakes", "calibration"),
    "coverage": Kind("accuracy when unsure answers are withheld", "mistakes", "calibration", 1),
    "slices": Kind("accuracy on parts of the test split", "mistakes", "slices"),
    "seconds": Kind("wall time of every node", "summary", "nodes"),
}


def get(name: str) -> Kind:
    """The kind of that name.

    Raises:
      InputError: when there is none, with the nearest name.
    """
    if name not in KINDS:
        near = difflib.get_close_matches(name, KINDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(KINDS)}."
        raise InputError(f"There is no plot {name!r}; {hint}")
    return KINDS[name]


def draw(name: str, context: Context) -> Figure:
    """One plot of a run.

    Args:
      name: a key of `KINDS`.
      context: the run.

    Raises:
      InputError: when there is no such kind, or this run has nothing to show in it.
    """
    from components.report.plots.mistakes import gallery

    kind = get(name)
    section = importlib.import_module(f"components.report.sections.{kind.section}")
    figures, remarks = [], []
    for block in getattr(section, kind.part)(context):
        match block.kind:
            case "plot":
                figures.append(block.figure)
            case "gallery":
                figures.append(gallery([(picture.images, picture.lines) for picture in block.pictures]))
            case "text":
                remarks.append(block.text)
        if len(figures) > kind.place:
            return figures[kind.place]
    nothing = "nothing was tuned in it." if kind.section == "tuning" else "there is nothing to show."
    raise InputError(f"This run has no plot {name!r}: {' '.join(remarks) or nothing}")
