"""The Transform node on photos, against the stock node as in tutorials: materialized float32 images."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks import commands, pictures
from benchmarks.figures import Results, ratios
from benchmarks.scale import Scale
from modules import features

SIZE = 180
BAR = 0.1
_CONFIG = """
data: {{image_size: [{size}, {size}], split: {{train: 0.8, validation: 0.1, test: 0.1, seed: 0}}}}
model: {{architecture: flowers_cnn}}
"""


def measure(scale: Scale, scratch: Path) -> Results:
    """Both nodes in turn, each in a process of its own, on the same examples."""
    count = 3_000 // scale.share
    data = pictures.write(scratch / "photos", count, 240, 320, "JPEG")
    config = scratch / "config.yaml"
    config.write_text(_CONFIG.format(size=SIZE), encoding="utf-8")
    workdir = scratch / "work"
    _, prepared = commands.run(config, data, workdir, to="Transform")
    outputs = {name: node["outputs"] for name, node in prepared["nodes"].items()}
    ours, stock = [prepared["nodes"]["Transform"]["seconds"]], []
    for attempt in range(scale.repetitions):
        if attempt:
            _, again = commands.run(config, data, scratch / f"work{attempt}", to="Transform")
            ours.append(again["nodes"]["Transform"]["seconds"])
        folders = (outputs["ImageExampleGen"]["examples"], outputs["DataGate"]["checked_schema"])
        stock.append(
            commands.python("benchmarks.transform", *folders, str(scratch / f"stock{attempt}"))["seconds"]
        )
    return Results(
        [
            ratios(
                f"Transform, {count:,} photos to {SIZE}x{SIZE}",
                "stock TFX, materialized float32",
                ours,
                stock,
                BAR,
            )
        ]
    )


def preprocessing_fn(inputs: dict) -> dict:
    """As in TFX's own examples: decode, resize and scale every image, look the label up."""
    import tensorflow as tf
    import tensorflow_transform as tft

    def decode(encoded: tf.Tensor) -> tf.Tensor:
        return tf.image.resize(tf.io.decode_jpeg(encoded, channels=3), (SIZE, SIZE)) / 255.0

    images = tf.map_fn(decode, tf.reshape(inputs[features.IMAGE], [-1]), fn_output_signature=tf.float32)
    return {
        "image": tf.reshape(images, (-1, SIZE, SIZE, 3)),
        "label": tft.compute_and_apply_vocabulary(inputs[features.LABEL]),
    }


def stock(examples: str, schema: str, workdir: Path) -> float:
    """Seconds of the stock node on examples and schema that are there, imported by its own importers."""
    from tfx.components import Transform
    from tfx.dsl.components.common.importer import Importer
    from tfx.orchestration import pipeline
    from tfx.proto import transform_pb2
    from tfx.types import standard_artifacts

    from pipeline.graph import BEAM_ARGUMENTS, compile_pipeline
    from pipeline.local import LocalRunner, connection_config

    names = json.dumps(["train", "validation", "test"])
    given = Importer(examples, standard_artifacts.Examples, properties={"split_names": names}).with_id(
        "Given"
    )
    described = Importer(schema, standard_artifacts.Schema).with_id("Described")
    node = Transform(
        examples=given.outputs["result"],
        schema=described.outputs["result"],
        preprocessing_fn="benchmarks.transform.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(
            analyze=["train"], transform=["train", "validation", "test"]
        ),
        materialize=True,
    )
    workdir.mkdir()
    connection = connection_config(workdir)
    ir = compile_pipeline(
        pipeline.Pipeline(
            pipeline_name="stock",
            pipeline_root=str(workdir / "artifacts"),
            components=[given, described, node],
            metadata_connection_config=connection,
            beam_pipeline_args=list(BEAM_ARGUMENTS),
        )
    )
    results = LocalRunner("stock", connection).run_with_ir(ir)
    return results[-1].seconds


if __name__ == "__main__":
    print(json.dumps({"seconds": stock(sys.argv[1], sys.argv[2], Path(sys.argv[3]))}))
