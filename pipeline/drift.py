"""`imagemill drift`: what is asked in production, held against what the model learned from.

The model server keeps a sample of its requests (`serving.request_log`). Their images are measured by the code
of the ingest and compared by the code of the drift gate, so figures and words are those of the training data.
"""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from rich.console import Console
from rich.text import Text

from components.image_example_gen import figures
from components.image_example_gen.images import Bounds, Decoded, ImageRefusedError, decode
from modules import features
from modules.errors import InputError
from pipeline import runs

#: With fewer images chance alone moves shares by some hundredths.
FEW = 200
_CHUNK = 256


class Asked(NamedTuple):
    """One image of a logged request, and what the model answered."""

    image: bytes
    label: str
    version: int


class Report(NamedTuple):
    """What `imagemill drift` found.

    Attributes:
      run_id: the run whose training data were compared with.
      images: compared.
      unreadable: images that could not be decoded.
      moved: a clause for each figure that moved too far.
    """

    run_id: str
    images: int
    unreadable: int
    moved: list[str]


def drift(prefix: str, workdir: pathlib.Path, version: int | None = None) -> Report:
    """Compares a request log with the statistics of the training data.

    Args:
      prefix: how the paths of the log's files begin: `filename_prefix` of the model's `logging_config`.
      workdir: working directory of the run that pushed the model.
      version: of the model; without it the one that answered last.

    Raises:
      InputError: no such log, no image in it, or no run that pushed the version.
    """
    asked = list(_asked(prefix))
    if not asked:
        raise InputError(
            f"{prefix}: no logged request for images; give the filename_prefix of the model's logging_config"
        )
    version = version or asked[-1].version
    asked = [one for one in asked if one.version == version]
    folder = _run_of(workdir, version)
    settings = folder.read(folder.request)["config"]
    rows, unreadable = _rows(asked, tuple(settings["data"]["background"]))
    if not rows:
        raise InputError(f"{prefix}: no image of version {version} can be read")
    return Report(folder.run_id, len(rows), unreadable, _moved(rows, folder, settings["drift"]))


def show(report: Report, out: Console, err: Console) -> None:
    """Prints the report for a person."""
    head = f"{report.images:,} images asked, against what run {report.run_id} learned from: "
    out.print(Text(head + ("" if report.moved else "nothing moved too far.")), soft_wrap=True)
    for clause in report.moved:
        out.print(Text(f"  {clause}"), soft_wrap=True)
    if report.images < FEW:
        err.print(
            Text(f"Fewer than {FEW} images: chance alone may have moved them.", "yellow"), soft_wrap=True
        )
    if report.unreadable:
        err.print(Text(f"{report.unreadable:,} images could not be read.", "yellow"), soft_wrap=True)


def _run_of(workdir: pathlib.Path, version: int) -> runs.RunFolder:
    """The run that pushed a version."""
    for folder in reversed(runs.history(workdir)):
        if folder.read(folder.result).get("pushed_version") == str(version):
            return folder
    raise InputError(f"No run in {workdir} pushed version {version}; give the --workdir of the one that did.")


def _asked(prefix: str) -> Iterator[Asked]:
    from serving import protos, request_log, tensors

    for record in request_log.read(prefix):
        request, response = record.predict_log.request, record.predict_log.response
        if "label" not in response.outputs:
            continue
        labels = tensors.to_numpy(response.outputs["label"]).tolist()
        version = response.model_spec.version.value
        if "image_bytes" in request.inputs:
            images = tensors.to_numpy(request.inputs["image_bytes"]).tolist()
        elif "examples" in request.inputs:
            images = [
                protos.example.Example.FromString(example)
                .features.feature[features.IMAGE]
                .bytes_list.value[0]
                for example in tensors.to_numpy(request.inputs["examples"]).tolist()
            ]
        else:
            continue
        for image, label in zip(images, labels, strict=True):
            yield Asked(image, label.decode(), version)


def _rows(asked: Iterable[Asked], background: tuple[int, int, int]) -> tuple[list[dict[str, Any]], int]:
    """The figures of every image that can be read, by the names of the features; and how many cannot.

    Format and file size are left out: clients send much of what is no JPEG as PNG.
    """
    bounds = Bounds(max_pixels=170_000_000, max_file_bytes=1 << 31, min_side=1, background=background)
    rows: list[dict[str, Any]] = []
    unreadable = 0
    remaining = iter(asked)
    while chunk := list(itertools.islice(remaining, _CHUNK)):
        decoded: list[tuple[str, Decoded]] = []
        for one in chunk:
            try:
                decoded.append((one.label, decode(one.image, bounds)))
            except ImageRefusedError:
                unreadable += 1
        measured = figures.measure([image.grey for _, image in decoded])
        for (label, image), figure in zip(decoded, measured, strict=True):
            rows.append(
                {
                    features.LABEL: label or None,  # an abstention is no class
                    features.HEIGHT: image.height,
                    features.WIDTH: image.width,
                    features.CHANNELS: image.channels,
                    features.ASPECT: image.width / image.height,
                    features.BRIGHTNESS: figure.brightness,
                    features.CONTRAST: figure.contrast,
                    features.SHARPNESS: figure.sharpness,
                }
            )
    return rows, unreadable


def _moved(rows: list[dict[str, Any]], folder: runs.RunFolder, settings: dict[str, Any]) -> list[str]:
    from components.drift_gate import executor as gate  # imports tfx, before TFDV
    from components.drift_gate.settings import DriftSettings

    import pandas  # isort: skip
    import tensorflow_data_validation as tfdv  # isort: skip

    uri = folder.read(folder.result)["nodes"]["StatisticsGen"]["outputs"]["statistics"]
    try:
        trained = tfdv.load_stats_binary(str(pathlib.Path(uri, f"Split-{features.TRAIN}", "FeatureStats.pb")))
    except OSError as error:
        raise InputError(f"The statistics of run {folder.run_id} are gone from {uri}.") from error
    frame = pandas.DataFrame(rows)
    # As in the Examples: a constant such as 4 / 3 is another number in 64 bits, and would count as moved.
    frame = frame.astype(dict.fromkeys(frame.select_dtypes("float64"), "float32"))
    served = tfdv.generate_statistics_from_dataframe(frame, n_jobs=1)
    return gate.describe_drift(served, trained, DriftSettings.model_validate(settings))
