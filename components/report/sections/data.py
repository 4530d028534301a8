"""Data: what the network learned from and was judged by."""

from __future__ import annotations

from collections.abc import Iterator

from components.report.blocks import Block, Plot, Table, Text
from components.report.context import Context
from components.report.plots import data

#: Rows of a table of files, and classes with samples: the page stays small whatever the data.
MOST_FILES = 50
MOST_CLASSES = 40


def balance(context: Context) -> Iterator[Block]:
    """Classes by split."""
    counts = context.sources.ingest["examples"]
    classes = sorted({name for by_class in counts.values() for name in by_class})
    sums = {name: sum(by_class.get(name, 0) for by_class in counts.values()) for name in classes}
    smallest, largest = min(sums, key=sums.get), max(sums, key=sums.get)
    yield Plot(
        data.balance(counts),
        f"Bar chart of the images of {len(classes)} classes by split; the smallest class is {smallest} with "
        f"{sums[smallest]:,}, the largest {largest} with {sums[largest]:,}",
        f"{sums[largest]:,} images a class"
        if sums[smallest] == sums[largest]
        else f"From {sums[smallest]:,} ({smallest}) to {sums[largest]:,} images ({largest})",
    )
    rows = [[name, *(by_class.get(name, 0) for by_class in counts.values()), sums[name]] for name in classes]
    rows.sort(key=lambda row: -row[-1])
    yield Table(["class", *counts, "all"], rows, "Images by class and split", folded=True)


def samples(context: Context) -> Iterator[Block]:
    """Some images of every class, as the network gets them."""
    every = context.sources.classes
    shown = every[:MOST_CLASSES]
    side = max(context.sources.settings.pixels.image_size)
    # Few large photos, many small scans: the page has five megabytes for everything.
    each = 10 if side <= 64 else 6
    found = context.sources.samples(shown, each)
    step = max(1, -(-side // (64 if len(shown) <= 12 else 40)))
    names = [name for name in shown if name in found]
    note = f"; the first {MOST_CLASSES} of {len(every)} classes" if len(every) > MOST_CLASSES else ""
    yield Plot(
        data.samples([found[name].pixels[:, ::step, ::step] for name in names], names),
        f"Sample images of the training split, a row a class: {', '.join(names)}",
        f"Images of the training split at the size that the network gets{note}",
        wide=True,
    )


def histograms(context: Context) -> Iterator[Block]:
    """Levels of the pixels before and after scaling."""
    sources = context.sources
    pixels = sources.first_images.pixels
    yield Plot(
        data.histograms(pixels, *sources.scaling),
        "Histograms of the pixels a channel, before scaling and after it",
        f"Of {len(pixels):,} images of the training split; shares on a logarithmic axis",
    )


def augmentation(context: Context) -> Iterator[Block]:
    """Images as the training sees them."""
    sources = context.sources
    images = sources.augmented
    if images is None:
        return
    step = max(1, -(-max(images.shape[2:4]) // 64))
    names = [sources.classes[label] for label in sources.first_images.labels[: len(images)]]
    yield Plot(
        data.samples(images[:, :, ::step, ::step], names),
        f"Contact sheet of {len(images)} training images, each with {images.shape[1] - 1} augmented versions",
        "The first column is the image itself; the others are what training may see in its place",
        wide=True,
    )


def left_out(context: Context) -> Iterator[Block]:
    """Files that the ingest did not take."""
    sources = context.sources
    summary = sources.ingest
    files = sum(summary["quarantined"].values())
    if files:
        reasons = sorted(summary["quarantined"].items(), key=lambda row: -row[1])
        yield Table(["reason", "files"], reasons, f"{files:,} of {summary['files']:,} files were left out")
    else:
        yield Text(f"Not one of {summary['files']:,} files was left out.", "good")
    if summary["clashes"]:
        clashes = sorted(summary["clashes"].items(), key=lambda row: -row[1])
        yield Table(["reason: what was done", "pairs"], clashes, "Equal or nearly equal images")
    if sources.quarantined:
        rows = [[row["path"], row["reason"], row["detail"]] for row in sources.quarantined[:MOST_FILES]]
        yield Table(["file", "reason", "detail"], rows, _first("files left out", rows, files), folded=True)
    if sources.clashes:
        rows = [
            [row["path"], row["other"], row["reason"], row["action"]] for row in sources.clashes[:MOST_FILES]
        ]
        caption = _first("equal or nearly equal images", rows, len(sources.clashes))
        yield Table(["image", "like", "reason", "what was done"], rows, caption, folded=True)


def _first(what: str, rows: list, total: int) -> str:
    return f"The first {len(rows)} of {total:,} {what}" if total > len(rows) else f"The {total:,} {what}"


PARTS = {
    "Class balance": balance,
    "Pixels before and after scaling": histograms,
    "Samples": samples,
    "Augmentation": augmentation,
    "Left out": left_out,
}
