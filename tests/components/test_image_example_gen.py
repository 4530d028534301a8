"""The component in a real TFX pipeline: artifacts, readers, cache."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to
from ingest_samples import png, write_folder
from PIL import Image
from tfx.components.util import examples_utils, tfxio_utils
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.orchestration import metadata
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import Pipeline
from tfx.types import artifact_utils

from components.image_example_gen.component import ImageExampleGen
from components.image_example_gen.settings import IngestSettings, SplitSettings
from modules import features
from modules.errors import InputError

BEAM_ARGUMENTS = ["--runner=DirectRunner", "--direct_running_mode=in_memory", "--direct_num_workers=1"]


class Project:
    """A pipeline of the one component in a temporary folder, and what its metadata store says."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "pipeline"
        self.store = folder / "metadata.sqlite"

    def run(
        self,
        data: Path,
        settings: IngestSettings | None = None,
        cache: bool = True,
        code: str = "",
        span: int = -1,
    ) -> None:
        component = ImageExampleGen(str(data), (settings or IngestSettings()).model_dump_json(), code, span)
        assert isinstance(component.executor_spec, BeamExecutorSpec)
        LocalDagRunner().run(
            Pipeline(
                pipeline_name="ingest",
                pipeline_root=str(self.root),
                components=[component],
                enable_cache=cache,
                metadata_connection_config=metadata.sqlite_metadata_connection_config(str(self.store)),
                beam_pipeline_args=BEAM_ARGUMENTS,
            )
        )

    def executions(self) -> list[str]:
        """States of all executions, oldest first."""
        with metadata.Metadata(metadata.sqlite_metadata_connection_config(str(self.store))) as handle:
            executions = sorted(handle.store.get_executions(), key=lambda one: one.id)
            return [type(one).State.Name(one.last_known_state) for one in executions]

    def artifact(self, type_name: str):
        """The newest artifact of a type."""
        with metadata.Metadata(metadata.sqlite_metadata_connection_config(str(self.store))) as handle:
            newest = max(handle.store.get_artifacts_by_type(type_name), key=lambda one: one.id)
            return artifact_utils.deserialize_artifact(handle.store.get_artifact_type(type_name), newest)

    def summary(self) -> dict:
        return json.loads((Path(self.artifact("Quarantine").uri) / "summary.json").read_text())


def read_split(artifact, split: str) -> list[dict]:
    """A split's Examples through tf.data, as the trainer reads them."""
    import tensorflow as tf

    files = sorted(tf.io.gfile.glob(f"{artifact.uri}/Split-{split}/*"))
    kinds = {name: tf.io.FixedLenFeature([], kind) for name, kind in FEATURE_TYPES.items()}
    dataset = tf.data.TFRecordDataset(files).map(lambda record: tf.io.parse_single_example(record, kinds))
    return list(dataset.as_numpy_iterator())


FEATURE_TYPES = {
    features.IMAGE: "string",
    features.LABEL: "string",
    features.FILENAME: "string",
    features.SHA256: "string",
    features.FORMAT: "string",
    features.HEIGHT: "int64",
    features.WIDTH: "int64",
    features.CHANNELS: "int64",
    features.BYTES: "int64",
    features.ASPECT: "float32",
    features.BRIGHTNESS: "float32",
    features.CONTRAST: "float32",
    features.SHARPNESS: "float32",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path]:
    """A folder of two classes with one broken file, ingested once."""
    folder = tmp_path_factory.mktemp("project")
    data = write_folder(folder / "data", {"cat": 30, "dög 🐕": 20})
    (data / "cat" / "broken.png").write_bytes(png(1)[:60])
    (data / "cat" / ".DS_Store").write_bytes(b"x")
    project = Project(folder)
    project.run(data)
    return project, data


def test_examples_artifact_says_what_readers_need(project):
    examples = project[0].artifact("Examples")
    assert examples.splits == ["train", "validation", "test"]
    assert examples_utils.get_payload_format_string(examples) == "FORMAT_TF_EXAMPLE"
    assert examples.get_string_custom_property("input_fingerprint")
    assert examples.get_int_custom_property("span") == 0
    assert examples.get_int_custom_property("version") == 0


def test_examples_hold_every_image_once_with_its_figures(project):
    examples = project[0].artifact("Examples")
    rows = {split: read_split(examples, split) for split in features.SPLITS}
    assert {split: len(found) for split, found in rows.items()} == {"train": 40, "validation": 5, "test": 5}
    for split, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        labels = Counter(row[features.LABEL].decode() for row in rows[split])
        assert labels == {"cat": 30 * share, "dög 🐕": 20 * share}
    everything = [row for found in rows.values() for row in found]
    assert len({row[features.SHA256] for row in everything}) == 50
    data = project[1]
    for row in everything:
        file = data / row[features.FILENAME].decode()
        assert row[features.IMAGE] == file.read_bytes()
        assert row[features.BYTES] == file.stat().st_size
        assert file.parent.name == row[features.LABEL].decode()
        with Image.open(file) as image:
            assert (row[features.WIDTH], row[features.HEIGHT]) == image.size
            grey = image.convert("L")
        histogram = grey.histogram()
        mean = sum(level * count for level, count in enumerate(histogram)) / (16 * 16)
        assert row[features.BRIGHTNESS] == pytest.approx(mean / 255, abs=1e-6)
        assert row[features.FORMAT] == b"PNG"
        assert row[features.CHANNELS] == 3
        assert row[features.ASPECT] == 1.0
        assert 0 < row[features.SHARPNESS] < 1
        assert 0 < row[features.CONTRAST] <= 0.5


def test_classes_are_mixed_within_the_train_split(project):
    labels = [row[features.LABEL] for row in read_split(project[0].artifact("Examples"), "train")]
    changes = sum(one != other for one, other in itertools.pairwise(labels))
    assert changes > 8


def test_tfxio_reads_the_examples_as_statistics_and_evaluation_do(project):
    examples = project[0].artifact("Examples")
    source = tfxio_utils.get_split_tfxio([examples], "train", telemetry_descriptors=["test"])
    with beam.Pipeline(argv=BEAM_ARGUMENTS) as pipeline:
        batches = pipeline | source.BeamSource()
        names = (
            batches | "Names" >> beam.Map(lambda batch: tuple(sorted(batch.schema.names))) | beam.Distinct()
        )
        rows = batches | "Rows" >> beam.Map(lambda batch: batch.num_rows) | beam.CombineGlobally(sum)
        assert_that(names, equal_to([tuple(sorted(FEATURE_TYPES))]), label="AllFeatures")
        assert_that(rows, equal_to([40]), label="EveryRow")


def test_splits_have_several_files_so_that_readers_can_share(project):
    train = Path(project[0].artifact("Examples").path(split="train"))
    assert sorted(file.name for file in train.iterdir()) == [
        "data_tfrecord-00000-of-00002",
        "data_tfrecord-00001-of-00002",
    ]


def test_quarantine_lists_what_was_left_out(project):
    folder = Path(project[0].artifact("Quarantine").uri)
    (row,) = [json.loads(line) for line in (folder / "quarantine.jsonl").read_text().splitlines()]
    assert (row["path"], row["reason"], row["size"]) == ("cat/broken.png", "truncated", 60)
    assert row["detail"]
    summary = project[0].summary()
    assert summary["classes"] == ["cat", "dög 🐕"]
    assert summary["quarantined"] == {"truncated": 1}
    assert summary["examples"]["test"] == {"cat": 3, "dög 🐕": 2}
    assert summary["ignored"] == {"hidden and system files": 1}


def test_manifest_lists_every_example_with_its_split(project):
    examples = project[0].artifact("Examples")
    manifest = [json.loads(line) for line in (Path(examples.uri) / "manifest.jsonl").read_text().splitlines()]
    for split in features.SPLITS:
        listed = {row["sha256"] for row in manifest if row["split"] == split}
        assert listed == {row[features.SHA256].decode() for row in read_split(examples, split)}


def test_unchanged_data_is_a_cache_hit_and_a_changed_or_added_file_is_not(tmp_path):
    data = write_folder(tmp_path / "data", {"a": 10, "b": 10})
    project = Project(tmp_path)
    project.run(data)
    project.run(data)
    assert project.executions() == ["COMPLETE", "CACHED"]

    changed = data / "a" / "00000.png"
    changed.write_bytes(png(900))
    project.run(data)
    (data / "b" / "new.png").write_bytes(png(901))
    project.run(data)
    project.run(data)
    assert project.executions()[2:] == ["COMPLETE", "COMPLETE", "CACHED"]

    project.run(data, IngestSettings(split=SplitSettings(seed=1)))
    assert project.executions()[5:] == ["COMPLETE"]


def splits_by_digest(project: Project) -> dict[str, str]:
    manifest = Path(project.artifact("Examples").uri) / "manifest.jsonl"
    rows = map(json.loads, manifest.read_text().splitlines())
    return {row["sha256"]: row["split"] for row in rows}


def test_old_images_keep_their_split_when_new_ones_arrive_and_the_cache_still_hits(tmp_path):
    data = write_folder(tmp_path / "data", {"a": 40, "b": 40})
    project = Project(tmp_path)
    project.run(data)
    first = splits_by_digest(project)
    # So many new images that a division from scratch would move old ones.
    write_folder(data, {"a": 60, "b": 5}, first=1000)
    project.run(data)
    second = splits_by_digest(project)
    assert len(second) == 145
    assert first.items() <= second.items()
    assert project.summary()["examples"]["test"] == {"a": 10, "b": 4}

    # The ledger of the second run is that of the first; a third run must find it again, not the second's.
    project.run(data)
    assert project.executions() == ["COMPLETE", "COMPLETE", "CACHED"]
    # Run anew without the cache, the same data are divided the same way.
    project.run(data, cache=False)
    assert splits_by_digest(project) == second

    # Another seed asks for another division, so the old one is not kept.
    project.run(data, IngestSettings(split=SplitSettings(seed=9)))
    reseeded = splits_by_digest(project)
    assert not first.items() <= reseeded.items()

    # New code divides what is new; what was divided stays.
    project.run(data, code="changed")
    assert splits_by_digest(project) == second

    # Back to data and settings of before: what was made for them is taken from the cache.
    project.run(data)
    assert project.executions()[-3:] == ["COMPLETE", "COMPLETE", "CACHED"]


def test_a_new_span_is_ingested_and_an_old_one_is_not_again(tmp_path):
    write_folder(tmp_path / "data" / "span-1", {"a": 20, "b": 20})
    pattern = tmp_path / "data" / "span-{SPAN}"
    project = Project(tmp_path)
    project.run(pattern)
    project.run(pattern)
    assert project.executions() == ["COMPLETE", "CACHED"]
    assert project.artifact("Examples").get_int_custom_property("span") == 1
    assert project.artifact("Examples").span == 1

    write_folder(tmp_path / "data" / "span-2", {"a": 10, "b": 10}, first=500)
    project.run(pattern)
    assert project.artifact("Examples").get_int_custom_property("span") == 2
    assert project.summary()["files"] == 20
    project.run(pattern, IngestSettings(spans=2))
    assert project.summary()["files"] == 60
    names = {row[features.FILENAME].decode() for row in read_split(project.artifact("Examples"), "test")}
    assert names and all(name.startswith(("span-1/", "span-2/")) for name in names)


def test_a_span_that_is_named_is_that_of_the_cache_whoever_names_it(tmp_path):
    for span in (1, 2):
        write_folder(tmp_path / "data" / f"span-{span}", {"a": 20, "b": 20}, first=span * 500)
    pattern = tmp_path / "data" / "span-{SPAN}"
    project = Project(tmp_path)
    project.run(pattern, span=1)
    assert project.artifact("Examples").span == 1
    project.run(pattern)
    assert project.artifact("Examples").span == 2
    project.run(pattern, span=2)
    assert project.executions() == ["COMPLETE", "COMPLETE", "CACHED"]
    with pytest.raises(InputError, match="there is no span 3; the latest are 1, 2"):
        project.run(pattern, span=3)


def test_a_span_that_was_ingested_can_count_as_unchanged(tmp_path):
    write_folder(tmp_path / "data" / "span-1", {"a": 20, "b": 20})
    pattern = tmp_path / "data" / "span-{SPAN}"
    project = Project(tmp_path)
    settings = IngestSettings(new_spans_only=True)
    project.run(pattern, settings)
    write_folder(tmp_path / "data" / "span-1", {"a": 1}, first=900)
    project.run(pattern, settings)
    assert project.executions() == ["COMPLETE", "CACHED"]
    write_folder(tmp_path / "data" / "span-2", {"a": 20, "b": 20}, first=500)
    project.run(pattern, settings)
    assert project.executions()[-1] == "COMPLETE"
    assert project.artifact("Examples").span == 2
    # Without the cache it is read as it is now, and is then known by that.
    before = project.artifact("Examples").get_string_custom_property("input_fingerprint")
    write_folder(tmp_path / "data" / "span-2", {"a": 1}, first=950)
    project.run(pattern, settings, cache=False)
    assert project.summary()["files"] == 41
    assert project.artifact("Examples").get_string_custom_property("input_fingerprint") != before


def test_an_archive_is_ingested_like_a_folder(tmp_path):
    data = write_folder(tmp_path / "pets", {"cat": 15, "dog": 15})
    archive = shutil.make_archive(str(tmp_path / "pets"), "zip", data)
    project = Project(tmp_path)
    project.run(Path(archive))
    project.run(Path(archive))
    assert project.executions() == ["COMPLETE", "CACHED"]
    assert project.summary()["classes"] == ["cat", "dog"]
    assert not list(project.root.rglob("unpacked"))


def test_a_bad_folder_fails_the_run_in_one_line_and_leaves_no_artifact(tmp_path):
    data = write_folder(tmp_path / "data", {"a": 10, "b": 10})
    for number in range(5):
        (data / "a" / f"bad{number}.png").write_bytes(b"no image")
    project = Project(tmp_path)
    with pytest.raises(InputError, match=r"5 of 25 files .*5 not-an-image.*max_bad_fraction") as raised:
        project.run(data)
    assert "\n" not in str(raised.value)
    assert project.executions() == ["FAILED"]
    assert not list(project.root.rglob("*tfrecord*"))


def test_the_data_folder_may_be_a_parameter_of_the_run():
    folder = RuntimeParameter(name="data", ptype=str)
    component = ImageExampleGen(folder, IngestSettings().model_dump_json())
    assert component.exec_properties["input_base"] is folder
