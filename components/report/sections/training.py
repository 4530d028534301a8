"""Training: what every epoch reached, and what to think of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from components.report.blocks import Block, Plot, Table, Text
from components.report.context import Context
from components.report.plots import training

#: Loss may rise by this share above its minimum before it is called rising: batches are noisy.
_RISE = 0.05
#: Accuracy on training images above that on validation images that is worth a remark.
_GAP = 0.05
_FIRST = (
    "epoch",
    "loss",
    "val_loss",
    "accuracy",
    "val_accuracy",
    "learning_rate",
    "images_per_second",
    "seconds",
)


def curves(context: Context) -> Iterator[Block]:
    """Loss and accuracy by epoch, with a remark on over-fitting."""
    history = context.sources.history
    text, tone = remark(history)
    yield Text(text, tone)
    keys = [key for key in ("loss", "val_loss", "accuracy", "val_accuracy") if key in history[-1]]
    last = ", ".join(f"{key} {history[-1][key]:.4f}" for key in keys)
    yield Plot(
        training.curves(history),
        f"Curves of loss and accuracy for training and validation over {len(history)} epochs; "
        f"at the end {last}",
    )


def remark(history: list[dict[str, Any]]) -> tuple[str, str]:
    """Whether training and validation part, in a sentence, and its tone."""
    if len(history) < 2 or "val_loss" not in history[-1]:
        return "One epoch alone does not show whether training and validation part.", "note"
    losses = [epoch["val_loss"] for epoch in history]
    best = losses.index(min(losses))
    kept = next((epoch for epoch in history if epoch.get("kept")), history[-1])
    gap = kept.get("accuracy", 0) - kept.get("val_accuracy", 0)
    rises = losses[-1] > losses[best] * (1 + _RISE) and history[-1]["loss"] < history[best]["loss"]
    if rises:
        return (
            f"Training and validation part after epoch {history[best]['epoch']}: the validation loss rises "
            f"from {losses[best]:.4f} to {losses[-1]:.4f} while the training loss still falls. That is "
            "over-fitting: augmentation, dropout, weight decay or fewer epochs help.",
            "bad",
        )
    if gap > _GAP:
        return (
            f"In the kept epoch the network is right on {kept['accuracy']:.1%} of the training images and on "
            f"{kept['val_accuracy']:.1%} of the validation images: it may know the former partly by heart.",
            "note",
        )
    if best == len(losses) - 1:
        return "The validation loss was still falling in the last epoch: more epochs may help.", "note"
    return "Training and validation stay together.", "good"


def speed(context: Context) -> Iterator[Block]:
    """Learning rate and images a second."""
    history = context.sources.history
    rates = f"{history[0]['learning_rate']:.3g} to {history[-1]['learning_rate']:.3g}"
    yield Plot(
        training.pace(history),
        f"Learning rate by epoch, from {rates}, and images a second; "
        f"{history[-1]['images_per_second']:,.0f} in the last epoch",
    )


def table(context: Context) -> Iterator[Block]:
    """Every figure of every epoch."""
    history = context.sources.history
    keys = [key for key in _FIRST if key in history[-1]]
    keys += [
        key
        for key, value in history[-1].items()
        if key not in _FIRST and key != "kept" and isinstance(value, int | float)
    ]
    rows = [
        [*(_cell(key, epoch.get(key)) for key in keys), "kept" if epoch.get("kept") else ""]
        for epoch in history
    ]
    columns = [key.replace("_", " ") for key in keys]
    yield Table([*columns, ""], rows, f"Figures of {len(history)} epochs", folded=len(history) > 12)


def _cell(key: str, value: Any) -> Any:
    return round(value) if key == "images_per_second" and value is not None else value


PARTS = {"Curves": curves, "Learning rate and speed": speed, "Epochs": table}
