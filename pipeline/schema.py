"""`imagemill schema freeze`: keeps the schema of a run, to be edited and held against later data."""

from __future__ import annotations

import pathlib

from modules import features
from modules.errors import InputError
from pipeline import runs
from pipeline.config import read_schema


def freeze(workdir: pathlib.Path, output: pathlib.Path, overwrite: bool) -> str:
    """Writes the schema of the newest run that went through.

    Args:
      workdir: working directory of the runs.
      output: file to write.
      overwrite: whether it may exist.

    Returns:
      The id of the run that the schema comes from.

    Raises:
      InputError: when there is no such run, or the file exists.
    """
    if output.exists() and not overwrite:
        raise InputError(f"{output} exists, and may hold your edits. Give --force to overwrite it.")
    for folder in reversed(runs.history(workdir)):
        nodes = folder.read(folder.result).get("nodes", {})
        if "DataGate" in nodes:
            text = _statistics_schema(pathlib.Path(nodes["DataGate"]["outputs"]["checked_schema"]))
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(f"# Schema of the data of run {folder.run_id}.\n{text}", encoding="utf-8")
            return folder.run_id
    raise InputError(f"No run in {workdir} went through, so there is no schema to keep.")


def _statistics_schema(directory: pathlib.Path) -> str:
    """The gate's schema without the image itself, which the statistics leave out and would be missed in."""
    from google.protobuf import text_format

    schema = read_schema(directory / "schema.pbtxt")
    described = [feature for feature in schema.feature if feature.name in features.DESCRIPTIVE]
    del schema.feature[:]
    schema.feature.extend(described)
    return text_format.MessageToString(schema, as_utf8=True)
