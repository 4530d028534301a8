"""Mistakes: where the model is wrong, how sure it is of it, and which labels may be the wrong ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from components.report import suspects
from components.report.blocks import Block, Gallery, Picture, Plot, Table, Text
from components.report.context import Context
from components.report.plots import mistakes

MOST_PAIRS = 15
MOST_SUSPECTS = 24
MOST_ROWS = 100


def confusion(context: Context) -> Iterator[Block]:
    """Confusion matrix, and the pairs that are confused most."""
    test = context.sources.test
    right = np.trace(test.confusion)
    yield Plot(
        mistakes.confusion(test.confusion, test.classes),
        f"Confusion matrix of {len(test.labels):,} test images; {right:,} on the diagonal are right",
        "Rows are labels, columns answers; a cell has the number of images and its share of the row",
        wide=True,
    )
    pairs = pairs_confused(test.confusion)
    sizes = test.confusion.sum(axis=1)
    rows = [
        [test.classes[label], test.classes[answer], count, f"{count / sizes[label]:.1%}"]
        for label, answer, count in pairs[:MOST_PAIRS]
    ]
    columns = ["labelled", "answered", "images", "share of the label"]
    yield Table(columns, rows, _of("most confused pairs", rows, pairs))


def pairs_confused(counts: np.ndarray) -> list[tuple[int, int, int]]:
    """Label, answer and number of images, the most frequent first.

    Args:
      counts: int (classes, classes), by label and answer.
    """
    wrong = counts - np.diag(np.diag(counts))
    found = [
        (int(row), int(column), int(wrong[row, column]))
        for row, column in zip(*np.nonzero(wrong), strict=True)
    ]
    return sorted(found, key=lambda pair: -pair[2])


def classes(context: Context) -> Iterator[Block]:
    """Figures by class, the worst first."""
    found = context.sources.verdict.per_class
    has_baseline = any(row.baseline_recall is not None for row in found)
    rows = [
        [row.class_name, row.count, row.recall, row.recall_low, row.recall_high]
        + ([row.baseline_recall] if has_baseline else [])
        + [row.precision, row.f1]
        for row in sorted(found, key=lambda row: 1 if row.recall is None else row.recall)
    ]
    columns = [
        "class",
        "images",
        "recall",
        "from",
        "to",
        *["in production"] * has_baseline,
        "precision",
        "F1",
    ]
    yield Table(columns, rows, "By class, the lowest recall first", folded=len(rows) > 30)


def errors(context: Context) -> Iterator[Block]:
    """The most confident errors, with what the network looked at."""
    sources = context.sources
    test = sources.test
    chosen, pixels = sources.confident_errors
    if not len(chosen):
        yield Text("Not one answer on the test split is wrong.", "good")
        return
    heats = sources.grad_cam(pixels, test.answers[chosen])
    if heats is None:
        yield Text("This network has no feature maps, so what it looked at cannot be shown.", "note")
    pictures = []
    for place, index in enumerate(chosen):
        answer, label = test.classes[test.answers[index]], test.classes[test.labels[index]]
        shown = [pixels[place]]
        if heats is not None:
            shown.append(mistakes.overlay(pixels[place], heats[place]))
        confidence = test.probabilities[index].max()
        alt = f"{test.filenames[index]}, answered {answer}, labelled {label}"
        lines = [f"{answer} {confidence:.4f}", f"labelled {label}", test.filenames[index]]
        pictures.append(Picture(shown, lines, alt + (", with a heat map" if heats is not None else "")))
    caption = "Wrong answers with their confidence, the most confident first"
    if heats is not None:
        caption += "; beside each image where the evidence for the answer lay (Grad-CAM)"
    yield Gallery(pictures, caption)


def suspect_labels(context: Context) -> Iterator[Block]:
    """Labels that the network confidently contradicts."""
    sources = context.sources
    looked = sources.suspects
    sums = sources.ingest["examples"]
    seen = ", ".join(
        f"{count:,} of {sum(sums[split].values()):,} {split}"
        if split not in looked.all_of
        else f"all {count:,} {split}"
        for split, count in looked.looked_at.items()
    )
    yield Text(
        f"Looked at {seen} images. A label is suspect when the network contradicts it as confidently as it "
        "usually agrees (confident learning). It may be the network that is wrong; and a wrong label in the "
        "training split that it has learned by heart is not found."
    )
    found = looked.found
    if not found:
        yield Text("No label is suspect.", "good")
        return
    by_class = suspects.by_class(found)
    rows = [[row.name, row.total, row.labelled, row.resembling] for row in by_class]
    columns = ["class", "suspect", "labelled so, looks different", "labelled otherwise, looks so"]
    yield Table(columns, rows[:MOST_PAIRS], _of("classes, the most suspect first", rows[:MOST_PAIRS], rows))
    pairs = suspects.by_pair(found)
    yield Table(
        ["labelled", "looks like", "images"], pairs[:MOST_PAIRS], _of("pairs", pairs[:MOST_PAIRS], pairs)
    )
    first = found[:MOST_SUSPECTS]
    thumbnails = sources.thumbnails((one.split, one.filename) for one in first)
    pictures = [
        Picture(
            [thumbnails[one.filename]],
            [f"{one.suggestion} {one.other:.4f}", f"labelled {one.label} {one.own:.4f}", one.filename],
            f"{one.filename}, labelled {one.label}, looks like {one.suggestion}",
        )
        for one in first
        if one.filename in thumbnails
    ]
    yield Gallery(pictures, _of("suspect labels, the most suspect first", pictures, found))
    listed = [
        [one.filename, one.split, one.label, one.suggestion, one.own, one.other] for one in found[:MOST_ROWS]
    ]
    caption = _of("suspect labels", listed, found) + "; suspects.jsonl beside this file has all of them"
    names = ["image", "split", "label", "looks like", "probability of the label", "of what it looks like"]
    yield Table(names, listed, caption, folded=True)


def calibration(context: Context) -> Iterator[Block]:
    """Whether confidences can be believed, and what abstaining would bring."""
    found = context.sources.verdict
    curve = found.calibration
    bins = [one.model_dump() for one in curve.bins]
    yield Plot(
        mistakes.reliability(bins, curve.ece),
        f"Reliability curve with a histogram of the confidences; expected calibration error {curve.ece:.4f}",
        f"Logits are divided by {curve.temperature:.3g} before the softmax" if curve.temperature != 1 else "",
    )
    if found.coverage:
        yield Plot(
            mistakes.coverage([row.model_dump() for row in found.coverage]),
            "Accuracy of the answers that remain when unsure ones are withheld",
        )
        rows = [[row.confidence, f"{row.coverage:.1%}", row.accuracy] for row in found.coverage]
        yield Table(
            ["abstain below", "answered", "accuracy of these"], rows, "What abstaining brings", folded=True
        )


def slices(context: Context) -> Iterator[Block]:
    """Accuracy on parts of the test split, the worst first."""
    found = sorted(context.sources.verdict.slices, key=lambda row: row.accuracy)
    if not found:
        yield Text("No slices are configured.", "note")
        return
    has_baseline = any(row.baseline is not None for row in found)
    yield Plot(
        mistakes.slices([row.model_dump() for row in found]),
        f"Accuracy of {len(found)} slices with their intervals; the worst is {found[0].slice} with "
        f"{found[0].accuracy:.4f}",
    )
    rows = [
        [row.slice, row.count, row.accuracy, row.low, row.high] + ([row.baseline] if has_baseline else [])
        for row in found
    ]
    columns = ["slice", "images", "accuracy", "from", "to", *["in production"] * has_baseline]
    yield Table(
        columns,
        rows[:MOST_ROWS],
        _of("slices, the worst first", rows[:MOST_ROWS], rows),
        folded=len(rows) > 30,
    )


def _of(what: str, shown: list, every: list) -> str:
    return (
        f"The first {len(shown):,} of {len(every):,} {what}" if len(every) > len(shown) else what.capitalize()
    )


PARTS = {
    "Confusion": confusion,
    "Classes": classes,
    "Most confident errors": errors,
    "Suspect labels": suspect_labels,
    "Calibration": calibration,
    "Slices": slices,
}
