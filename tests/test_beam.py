"""Ingest and statistics on other Beam engines: what they give must not depend on who computes it."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import portpicker
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.flink_runner import FlinkJarJobServer
from tfx.dsl.compiler import constants
from tfx.orchestration.portable import runtime_parameter_utils

from components.statistics_gen import executor as statistics
from modules.errors import InputError
from modules.features import SPLITS
from pipeline import config, launch, lineage, local
from pipeline.beam_settings import BeamSettings
from tests.conftest import Project

import tensorflow_data_validation as tfdv  # isort: skip

FLINK = "1.20"


def _ingest(project: Project, workdir: pathlib.Path, *overrides: str) -> dict[str, Any]:
    """Runs the two stages with a configuration of Beam; returns what they computed."""
    workdir.mkdir()
    ir = local.compile_local(config.load(project.config, overrides), workdir)
    runtime_parameter_utils.substitute_runtime_parameter(
        ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: "run"}
    )
    connection = local.connection_config(workdir)
    nodes = [launch.launch_node(ir, name, connection) for name in ("ImageExampleGen", "StatisticsGen")]
    found = lineage.Lineage(connection, nodes)
    examples = pathlib.Path(found.outputs("ImageExampleGen")["examples"].uri)
    statistics = pathlib.Path(found.outputs("StatisticsGen")["statistics"].uri)
    return {
        "examples": {split: _records(examples / f"Split-{split}") for split in SPLITS},
        "manifest": (examples / "manifest.jsonl").read_text(encoding="utf-8"),
        "statistics": {
            split: _figures(statistics / f"Split-{split}" / "FeatureStats.pb") for split in SPLITS
        },
    }


def _records(folder: pathlib.Path) -> list[bytes]:
    files = sorted(str(path) for path in folder.iterdir())
    return sorted(tf.data.TFRecordDataset(files, compression_type=_compression(files)).as_numpy_iterator())


def _compression(files: list[str]) -> str:
    return "GZIP" if files[0].endswith(".gz") else ""


def _figures(path: pathlib.Path) -> dict[str, dict[str, Any]]:
    """What the statistics say of each feature; sums are of floats, which depend on their order."""
    (dataset,) = tfdv.load_stats_binary(str(path)).datasets
    answer = {}
    for feature in dataset.features:
        kind = feature.WhichOneof("stats")
        stats = getattr(feature, kind)
        figures: dict[str, Any] = {
            "examples": dataset.num_examples,
            "present": stats.common_stats.num_non_missing,
            "values": stats.common_stats.tot_num_values,
        }
        if kind == "num_stats":
            figures |= {"min": stats.min, "max": stats.max, "zeros": stats.num_zeros}
            figures |= {"mean": pytest.approx(stats.mean), "deviation": pytest.approx(stats.std_dev)}
        else:
            figures["unique"] = stats.unique
            figures["counts"] = {one.label: one.sample_count for one in stats.rank_histogram.buckets}
        answer["/".join(feature.path.step)] = figures
    return answer


@pytest.fixture(scope="module")
def reference(make_project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Any]]:
    project = make_project()
    return project, _ingest(project, tmp_path_factory.mktemp("direct") / "work")


def _assert_equal(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert {split: len(records) for split, records in wanted["examples"].items()} == {
        "train": 54,
        "validation": 18,
        "test": 18,
    }
    assert found["manifest"] == wanted["manifest"]
    assert found["examples"] == wanted["examples"]
    assert set(wanted["statistics"]["train"]) >= {"image/label", "image/width", "image/brightness"}
    assert found["statistics"] == wanted["statistics"]


def test_statistics_of_several_batches_add_up(
    reference, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, wanted = reference
    sizes = []
    batches = statistics.batches

    def watched(*arguments: Any) -> Iterator[Any]:
        for batch in batches(*arguments):
            sizes.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(statistics, "batches", watched)
    monkeypatch.setattr(statistics, "BATCH_EXAMPLES", 20)
    _assert_equal(_ingest(project, tmp_path / "work"), wanted)
    assert sizes == [32, 22, 18, 18]


@pytest.mark.slow
def test_several_processes_of_the_direct_runner_give_the_same(reference, tmp_path: pathlib.Path) -> None:
    project, wanted = reference
    options = {"direct_running_mode": "multi_processing", "direct_num_workers": 2}
    _assert_equal(_ingest(project, tmp_path / "work", f"beam.options={json.dumps(options)}"), wanted)


def test_processes_that_beam_could_not_start_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/home/some one/python")
    options = {"direct_running_mode": "multi_processing", "direct_num_workers": 2}
    arguments = BeamSettings(options=options).arguments()
    executor = statistics.Executor(statistics.Executor.Context(beam_pipeline_args=arguments))
    with pytest.raises(InputError, match="path without spaces"):
        executor.Do({}, {}, {})


@contextlib.contextmanager
def _server(*command: str, ready: pathlib.Path | str) -> Iterator[subprocess.Popen]:
    """A process that runs until the test is done; `ready` is a file that it writes, or a line."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        if isinstance(ready, str):
            assert any(ready in line for line in process.stdout), "it ended"
        else:
            while not ready.exists():
                assert process.poll() is None, "it ended"
                time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_server_with_the_workers_of_the_side_car_gives_the_same(
    reference, tmp_path: pathlib.Path
) -> None:
    """All that the Flink overlay has but Flink itself, in whose place is the job server of Beam's Python."""
    project, wanted = reference
    port, pool = tmp_path / "port", portpicker.pick_unused_port()
    job_server = ("apache_beam.runners.portability.local_job_service_main", "--port_file", str(port))
    with (
        _server(*job_server, ready=port),
        _server("pipeline.beam_worker_pool", str(pool), ready="Listening for workers") as workers,
    ):
        options = {
            "job_endpoint": f"localhost:{port.read_text()}",
            "environment_type": "EXTERNAL",
            "environment_config": f"localhost:{pool}",
        }
        overrides = ("beam.runner=PortableRunner", f"beam.options={json.dumps(options)}")
        _assert_equal(_ingest(project, tmp_path / "work", *overrides), wanted)
        workers.terminate()
        assert workers.wait(timeout=60) == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_flink_gives_the_same(reference, tmp_path: pathlib.Path) -> None:
    """A real Flink in Beam's job server, embedded; the workers are of this process (LOOPBACK)."""
    if not shutil.which("java"):
        pytest.fail("java is missing, which this test needs: run scripts/test-packages", pytrace=False)
    jar = _job_server()
    project, wanted = reference
    options = {"flink_version": FLINK, "flink_master": "[local]", "environment_type": "LOOPBACK"}
    options |= {"flink_job_server_jar": jar, "parallelism": 2}
    overrides = ("beam.runner=FlinkRunner", f"beam.options={json.dumps(options)}")
    _assert_equal(_ingest(project, tmp_path / "work", *overrides), wanted)


def _job_server() -> str:
    """Beam's job server for Flink, as Beam itself gets it; where it cannot be had, the reason is told."""
    options = PipelineOptions([f"--flink_version={FLINK}"])
    server = FlinkJarJobServer(options)
    url = server.path_to_jar()
    try:
        return server.local_jar(url)
    except Exception as error:
        pytest.skip(f"Flink was not tried: Beam's job server cannot be had from {url} ({error})")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("beam.runner=Flink", "beam.runner.*'FlinkRunner'"),
        (
            'beam.options={"--parallelism": 2}',
            "'--parallelism' is no name of an option; leave the dashes out",
        ),
        ('beam.options={"runner": "x"}', "beam.runner"),
    ],
)
def test_wrong_settings_are_refused(override: str, message: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("data: {path: .}\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        config.load(path, [override])


def test_options_are_passed_through() -> None:
    settings = BeamSettings(
        runner="DataflowRunner", options={"project": "p", "use_public_ips": False, "streaming": True}
    )
    assert settings.arguments() == [
        "--runner=DataflowRunner",
        "--beam_plugin=tfx",
        "--project=p",
        "--streaming",
    ]
    # The last of two equal options counts.
    assert BeamSettings(options={"direct_num_workers": 3}).arguments() == [
        "--runner=DirectRunner",
        "--sdk_container_image=unused",
        "--direct_running_mode=in_memory",
        "--direct_num_workers=3",
    ]
