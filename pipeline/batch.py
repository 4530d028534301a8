"""`imagemill batch`: classifies a large folder without a server, and goes on where it was interrupted.

A Beam pipeline over bundles of files; each bundle ends as a part beside the output, written whole or not at
all, so an interrupted run keeps what was done, on this machine as on any other runner. Images are read by the
rules of the client, and the model runs in a session as in the model server.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import pathlib
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from components.image_example_gen import files
from components.image_example_gen.walk import shown, walk
from modules.errors import InputError
from serving.batching import Call
from serving.errors import BadImage
from serving.images import encode
from serving.loader import Servable, SessionOptions, load
from serving.status import StatusCode, StatusError
from serving.versions import find_versions

BUNDLE = 256
ROWS = 32
_REPORT_SECONDS = 5.0
SUFFIXES = (".csv", ".jsonl")
_OUTPUTS = ("confidence", "label", "probabilities")
_SIGNATURE = "serving_default"


class Bundle(NamedTuple):
    """Files of one part: where the part is written, and the files relative to the folder."""

    part: str
    paths: tuple[str, ...]


class Summary(NamedTuple):
    """What a run did: images in all, those without an answer, and those that an earlier run had done."""

    images: int
    failed: int
    resumed: int


def model_folder(base_path: pathlib.Path, version: int | None) -> pathlib.Path:
    """The folder of a version, or of the latest.

    Raises:
      InputError: it is not there.
    """
    found = find_versions(base_path) if base_path.is_dir() else {}
    if not found:
        raise InputError(f"{base_path}: no versions in this folder")
    if version is not None and version not in found:
        raise InputError(f"{base_path}: no version {version}; there are {', '.join(map(str, sorted(found)))}")
    return found[max(found) if version is None else version]


def run(
    folder: str,
    output: pathlib.Path,
    model: pathlib.Path,
    force: bool = False,
    beam_args: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Writes a line for every file below a folder: the answer, or why there is none.

    Args:
      folder: local or `gs://`; hidden and system files are left out.
      output: `.csv` or `.jsonl`; its parts lie in `<output>.parts` until all are done.
      model: folder of the version.
      force: replace an output that is there.
      beam_args: for another runner than this process; the output and the model must be in its reach.
      progress: told how many files of how many are done.

    Raises:
      InputError: no files, a suffix that is not known, or an output that is there.
    """
    if output.suffix not in SUFFIXES:
        raise InputError(f"--output {output}: the name must end in {' or '.join(SUFFIXES)}")
    if output.exists() and not force:
        raise InputError(f"--output {output}: it exists; give --force to replace it")
    found = (
        sorted(walk(folder, follow=True).files(""))
        if files.is_remote(folder) or os.path.isdir(folder)
        else []
    )
    if not found:
        raise InputError(f"{folder}: no such folder, or no files in it")
    parts = pathlib.Path(f"{output}.parts")
    salt = f"{model.resolve()} {_digest_of(model)}"
    bundles = list(_bundles(folder, found, parts, salt))
    wanted = [bundle for bundle in bundles if not os.path.exists(bundle.part)]
    done = len(found) - sum(len(bundle.paths) for bundle in wanted)
    if wanted:
        parts.mkdir(parents=True, exist_ok=True)
        arguments = beam_args or ["--runner=DirectRunner", "--direct_running_mode=in_memory"]
        with (
            _watched(bundles, len(found), progress),
            beam.Pipeline(options=PipelineOptions(list(arguments))) as pipeline,
        ):
            _ = (
                pipeline
                | beam.Create(wanted)
                | beam.Reshuffle()
                | beam.ParDo(ClassifyBundle(folder, str(model)))
            )
    failed = _join(bundles, output)
    shutil.rmtree(parts)
    return Summary(len(found), failed, done)


def _digest_of(model: pathlib.Path) -> str:
    return hashlib.sha256((model / "saved_model.pb").read_bytes()).hexdigest()


def _bundles(folder: str, found: Sequence[Any], parts: pathlib.Path, salt: str) -> Iterator[Bundle]:
    """Bundles of the files. A part's name changes with its files and the model, so no stale one is taken."""
    for start in range(0, len(found), BUNDLE):
        some = found[start : start + BUNDLE]
        digest = hashlib.sha256(os.fsencode(f"{salt}\0{folder}"))
        for file in some:
            digest.update(os.fsencode(f"{file.path}\0{file.size}\0{file.mtime_ns}\n"))
        yield Bundle(
            str(parts / f"{start:09d}-{digest.hexdigest()[:16]}.jsonl"), tuple(file.path for file in some)
        )


class _watched:  # noqa: N801 - used as a function is
    """Reports now and then how many files have their part, for as long as a block lasts."""

    def __init__(self, bundles: Sequence[Bundle], total: int, progress: Callable[[int, int], None]):
        self._bundles, self._total, self._progress = bundles, total, progress
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_REPORT_SECONDS):
            done = sum(len(bundle.paths) for bundle in self._bundles if os.path.exists(bundle.part))
            self._progress(done, self._total)


class ClassifyBundle(beam.DoFn):
    """Answers the files of a bundle and writes its part.

    Args:
      folder: what paths are relative to.
      model: folder of the version.
    """

    def __init__(self, folder: str, model: str) -> None:
        self._folder = folder
        self._model = model
        self._servable: Servable | None = None

    def setup(self) -> None:
        path = pathlib.Path(self._model)
        self._servable = load(path.parent.name, int(path.name), path, SessionOptions())

    def process(self, bundle: Bundle) -> None:
        lines = []
        for start in range(0, len(bundle.paths), ROWS):
            for path, answer in self._classify(bundle.paths[start : start + ROWS]):
                lines.append(
                    json.dumps({"image": shown(path), **answer}, ensure_ascii=False).encode() + b"\n"
                )
        files.write(bundle.part, lines)

    def teardown(self) -> None:
        if self._servable is not None:
            self._servable.close()

    def _classify(self, paths: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        encoded: dict[str, bytes] = {}
        answers: dict[str, dict[str, Any]] = {}
        for path in paths:
            try:
                encoded[path] = encode(files.read(f"{self._folder.rstrip('/')}/{path}"), path)
            except (BadImage, OSError) as error:
                answers[path] = {"error": getattr(error, "reason", str(error))}
        answers |= zip(encoded, self._search(list(encoded.values())), strict=True)
        for path in paths:
            yield path, answers[path]

    def _search(self, images: list[bytes]) -> list[dict[str, Any]]:
        """The answers of the model, halving wherever an image spoils those of the others."""
        if not images:
            return []
        try:
            return self._run(images)
        except StatusError as error:
            if error.code is not StatusCode.INVALID_ARGUMENT:
                raise
            if len(images) == 1:
                return [{"error": " ".join(error.message.split())[:300]}]
        middle = len(images) // 2
        return [*self._search(images[:middle]), *self._search(images[middle:])]

    def _run(self, images: list[bytes]) -> list[dict[str, Any]]:
        assert self._servable is not None
        array = np.empty(len(images), object)
        array[:] = images
        results = self._servable.run(_SIGNATURE, [array], _OUTPUTS, Call())
        return [
            {
                "label": label.decode(),
                "confidence": confidence,
                "probabilities": row,
                "model_version": self._servable.version,
            }
            for confidence, label, row in zip(*(result.tolist() for result in results), strict=True)
        ]


def _join(bundles: Sequence[Bundle], output: pathlib.Path) -> int:
    """Joins the parts into the output, which appears whole; returns how many images have no answer."""
    failed = 0
    partial = output.with_name(f"{output.name}.partial")
    with partial.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, lineterminator="\n")
        if output.suffix == ".csv":
            writer.writerow(["image", "label", "confidence", "model_version", "error"])
        for bundle in bundles:
            for line in io.BytesIO(files.read(bundle.part)):
                answer = json.loads(line)
                failed += "error" in answer
                if output.suffix == ".csv":
                    confidence = f"{answer['confidence']:.6f}" if "confidence" in answer else ""
                    middle = [answer.get("label", ""), confidence, answer.get("model_version", "")]
                    writer.writerow([answer["image"], *middle, answer.get("error", "")])
                else:
                    target.write(line.decode())
    partial.replace(output)
    return failed
