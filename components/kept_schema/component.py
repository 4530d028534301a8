"""`KeptSchema`: puts a schema that the user keeps in the place of an inferred one.

TFX's ImportSchemaGen takes the path of a file, and its cache does not see the file change. Here the text
itself is the parameter, so an edited schema is a new one, and a pod needs no access to the user's file.
"""

# No postponed annotations in this file: TFX's decorator reads the types themselves.

from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Schema
from tfx.utils import io_utils


@component
def KeptSchema(text: Parameter[str], schema: OutputArtifact[Schema]) -> None:
    """Writes the schema.

    Args:
      text: a `tensorflow.metadata.v0.Schema` in text format.
      schema: `schema.pbtxt`, that text.
    """
    io_utils.write_string_file(f"{schema.uri}/schema.pbtxt", text)
