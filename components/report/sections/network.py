"""Network: its layers, and what they have learned."""

from __future__ import annotations

from collections.abc import Iterator

from components.report import inside
from components.report.blocks import Block, Plot, Table, Text
from components.report.context import Context
from components.report.plots import network
from components.report.sections.summary import parameters_in_words


def diagram(context: Context) -> Iterator[Block]:
    """The way of an image through the network."""
    rows = context.sources.layers
    blocks = inside.blocks(rows)
    caption = "Shapes are height×width×maps."
    if len(blocks) < len(rows):
        caption += f" The {len(rows)} layers are put together by the size of their maps."
    yield Plot(
        network.diagram(blocks),
        "Block diagram: " + ", then ".join(f"{text} ({shape})" for _, text, shape in blocks),
        caption,
    )


def layers(context: Context) -> Iterator[Block]:
    """Every layer with its parameters."""
    rows = [
        [row.name, row.kind, "×".join(map(str, row.shape)), row.parameters, row.trainable]
        for row in context.sources.layers
    ]
    total, trainable = context.sources.parameters
    columns = ["layer", "kind", "output", "parameters", "trained"]
    caption = f"Parameters: {parameters_in_words(total, trainable)}"
    yield Table(columns, rows, caption, folded=len(rows) > 30)


def kernels(context: Context) -> Iterator[Block]:
    """First-layer kernels trained beside untrained."""
    pair = context.sources.kernels
    if pair is None:
        yield Text(
            "The first layer with weights sees neither pixels nor patches, so it has no kernels.", "note"
        )
        return
    trained, untrained = pair
    height, width, channels, filters = trained.shape
    words = f"mean {trained.mean():+.4f}, deviation {trained.std():.4f}"
    if untrained is not None:
        words += f"; before training mean {untrained.mean():+.4f}, deviation {untrained.std():.4f}"
    yield Plot(
        network.kernels(trained, untrained),
        f"Kernels of the first layer as images, before and after training: {words}",
        f"{filters} kernels of {width}×{height}×{channels}; mid grey is a weight of 0. Kernels that still "
        "look like noise after training have learned little.",
        wide=True,
    )


def feature_maps(context: Context) -> Iterator[Block]:
    """What every stage of convolutions answers to a sample."""
    image = context.sources.sample_image
    stages = inside.stages(context.sources.classifier, image)
    if not stages:
        yield Text("This network has no convolutions, so it has no feature maps.", "note")
        return
    yield Plot(
        network.feature_maps([("the image itself", image.astype(float)), *stages]),
        "Feature maps of one image: "
        + ", ".join(f"{name} with {output.shape[-1]} maps" for name, output in stages),
        "The maps that vary most, at the last convolution of each size; bright is a strong answer",
        wide=True,
    )


PARTS = {
    "Diagram": diagram,
    "Layers": layers,
    "First-layer kernels": kernels,
    "Feature maps": feature_maps,
}
