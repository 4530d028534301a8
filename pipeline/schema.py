"""`imagemill schema freeze`: keeps the schema that a run inferred, to be edited and held against later data."""

from __future__ import annotations

import pathlib

from modules.errors import InputError
from pipeline import runs


def freeze(workdir: pathlib.Path, output: pathlib.Path, overwrite: bool) -> str:
    """Copies the schema of the newest run that went through.

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
        for name in ("SchemaGen", "ImportSchemaGen"):
            if name in nodes:
                (schema,) = pathlib.Path(nodes[name]["outputs"]["schema"]).glob("*.pbtxt")
                output.parent.mkdir(parents=True, exist_ok=True)
                output.write_bytes(schema.read_bytes())
                return folder.run_id
    raise InputError(f"No run in {workdir} went through, so there is no schema to keep.")
