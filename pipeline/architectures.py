"""`imagemill architectures`: the registered networks with their parameter counts."""

from __future__ import annotations

import json
import math
from typing import Any

from rich.console import Console
from rich.table import Table

from modules.architectures import registry


def show(image_size: int, channels: int, classes: int, out: Console, as_json: bool) -> None:
    """Prints every network, or as JSON a list of `{name, parameters, trainable_parameters}`.

    A network that cannot take the size has null counts and an `error`.
    """
    entries = [_entry(name, image_size, channels, classes) for name in registry.names()]
    if as_json:
        print(json.dumps(entries))
        return
    table = Table("network", box=None, pad_edge=False)
    table.add_column("parameters", justify="right")
    table.add_column("trainable", justify="right")
    table.add_column("")
    for entry in entries:
        about = registry.get(entry["name"]).summary
        if "error" in entry:
            table.add_row(entry["name"], "", "", f"not at {image_size}x{image_size}x{channels}")
        else:
            counts = f"{entry['parameters']:,}", f"{entry['trainable_parameters']:,}"
            table.add_row(entry["name"], *counts, about)
    out.print(table)


def _entry(name: str, image_size: int, channels: int, classes: int) -> dict[str, Any]:
    # Keras, and TensorFlow behind it, take seconds to import.
    import keras

    from modules.classifier import build_network
    from modules.settings import ModelSettings, PixelSettings

    pixels = PixelSettings(image_size=(image_size, image_size), channels=channels)
    # Pretrained weights would be downloaded, and change no count.
    options = {"weights": "none"} if "weights" in registry.get(name).options.model_fields else {}
    keras.backend.clear_session()
    try:
        network = build_network(ModelSettings(architecture=name, **options), pixels, classes)
    except ValueError as error:
        return {"name": name, "parameters": None, "trainable_parameters": None, "error": str(error)}
    trainable = sum(math.prod(weight.shape) for weight in network.trainable_weights)
    return {"name": name, "parameters": network.count_params(), "trainable_parameters": trainable}
