"""`DataGate`: stops the run on anomalies, and hands Transform the schema of what may pass.

ExampleValidator only reports. Transform takes its schema from this gate, so nothing is transformed, let
alone trained, before the data was found good.
"""

# No postponed annotations in this file: TFX's decorator reads the types themselves.

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import ExampleAnomalies, ExampleStatistics, Schema
from tfx.utils import io_utils

from modules import features
from modules.errors import InputError

#: Features that Transform reads. The image has no statistics, since counting its bytes says nothing, and
#: so no place in the schema that is inferred from them.
_READ = (features.IMAGE, features.LABEL)


@component
def DataGate(
    statistics: InputArtifact[ExampleStatistics],
    schema: InputArtifact[Schema],
    anomalies: InputArtifact[ExampleAnomalies],
    checked_schema: OutputArtifact[Schema],
    code: Parameter[str] = "",
) -> None:
    """Fails on any anomaly; otherwise writes the schema of the Examples.

    Args:
      statistics: of the descriptive features, a split each.
      schema: what those features may be.
      anomalies: of ExampleValidator.
      checked_schema: `schema`, and in it what Transform reads.
      code: changes with the code of this gate; it only takes part in the cache key.

    Raises:
      InputError: naming each anomaly with its split, feature and reason.
    """
    kept = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(schema.uri))
    problems = [
        problem
        for split in artifact_utils.decode_split_names(anomalies.split_names)
        for problem in _anomalies(artifact_utils.get_split_uri([anomalies], split), split)
    ]
    classes = _classes(statistics)
    problems += _class_problems(classes, _label_domain(kept))
    if problems:
        raise InputError(
            "The data gate stopped the run: " + "; ".join(problems) + ". Mend the data, or the schema if "
            "the data is right."
        )
    _describe_what_is_read(kept)
    _name_the_classes(kept, classes[features.TRAIN])
    io_utils.write_pbtxt_file(f"{checked_schema.uri}/schema.pbtxt", kept)


def _anomalies(directory: str, split: str) -> list[str]:
    found = anomalies_pb2.Anomalies()
    found.ParseFromString(io_utils.read_bytes_file(f"{directory}/SchemaDiff.pb"))
    described = [
        f"{split}: {name.removeprefix('image/')}: {anomaly.short_description} "
        f"({anomaly.description.rstrip('. ')})"
        for name, anomaly in sorted(found.anomaly_info.items())
    ]
    return described + [f"{split}: {reason.description}" for reason in found.dataset_anomaly_info.reason]


def _label_domain(schema: schema_pb2.Schema) -> set[str]:
    """Class names that the schema lists; empty when it lists none."""
    domains = {domain.name: set(domain.value) for domain in schema.string_domain}
    for feature in schema.feature:
        if feature.name == features.LABEL:
            return set(feature.string_domain.value) or domains.get(feature.domain, set())
    return set()


def _classes(statistics: ExampleStatistics) -> dict[str, set[str]]:
    """Class names by split."""
    # Imported here, after tfx: it imports TFDV, which needs that order.
    from tfx.components.statistics_gen import stats_artifact_utils

    classes = {}
    for split in artifact_utils.decode_split_names(statistics.split_names):
        stats = stats_artifact_utils.load_statistics(statistics, split).proto()
        (label,) = [
            feature
            for dataset in stats.datasets
            for feature in dataset.features
            if features.LABEL in (feature.name, *feature.path.step)
        ]
        classes[split] = {bucket.label for bucket in label.string_stats.rank_histogram.buckets}
    return classes


def _class_problems(classes: dict[str, set[str]], domain: set[str]) -> list[str]:
    """Classes that a split has and the training split lacks, and those that the schema expects in vain.

    TFDV reports neither: to it, a value that does not occur is no anomaly.
    """
    known = classes[features.TRAIN]
    unknown = [
        f"{split}: class {name!r} does not occur in the training split"
        for split, found in classes.items()
        for name in sorted(found - known)
    ]
    gone = [f"class {name!r} is in the schema and has no images" for name in sorted(domain - known)]
    return unknown + gone


def _name_the_classes(schema: schema_pb2.Schema, names: set[str]) -> None:
    """Lists the classes where TFDV did not: it takes names such as `7` for numbers, and gives up on many."""
    if not _label_domain(schema):
        (label,) = [feature for feature in schema.feature if feature.name == features.LABEL]
        label.string_domain.value.extend(sorted(names))


def _describe_what_is_read(schema: schema_pb2.Schema) -> None:
    """Adds or narrows the features that Transform reads to one value in every Example."""
    named = {feature.name: feature for feature in schema.feature}
    for name in _READ:
        feature = named.get(name) or schema.feature.add(name=name)
        feature.type = schema_pb2.BYTES
        feature.presence.min_fraction = 1.0
        feature.shape.CopyFrom(schema_pb2.FixedShape())
