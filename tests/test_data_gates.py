"""New data that look different, or break the schema, stop the run and say so in plain words."""

from __future__ import annotations

import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from modules.errors import InputError
from pipeline import schema
from tests.conftest import Project


@pytest.fixture(scope="module")
def spans(make_project) -> Project:
    """A project whose first span passed."""
    project = make_project()
    (project.data / "sea" / "broken.jpg").unlink()
    root = project.data.parent / "spans"
    root.mkdir()
    project.data.rename(root / "span-1")
    project.spans = root
    result = project.run(f"data.path={root}/span-{{SPAN}}")
    assert result["exit_code"] == 0, result
    return project


def _next_span(project: Project) -> pathlib.Path:
    target = project.spans / "span-2"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(project.spans / "span-1", target)
    return target


def _run(project: Project, *overrides: str) -> dict:
    return project.run(f"data.path={project.spans}/span-{{SPAN}}", *overrides)


def test_a_span_that_is_darker_by_half_stops(spans: Project) -> None:
    for path in _next_span(spans).rglob("*.*"):
        Image.fromarray((np.asarray(Image.open(path)) * 0.5).astype(np.uint8)).save(path)
    for _ in range(2):  # stopping once must not make it the new normal
        result = _run(spans)
        assert result["exit_code"] == 2
        assert result["failed_node"] == "DriftGate"
        assert "brightness is" in result["error"]
        assert "before (divergence" in result["error"]
        assert "drift.accept" in result["error"]


def test_a_span_that_lost_a_class_stops(spans: Project) -> None:
    shutil.rmtree(_next_span(spans) / "leaf")
    result = _run(spans)
    assert result["exit_code"] == 2
    assert "class 'leaf' is gone (18 images before)" in result["error"]


def test_a_span_like_the_one_before_passes(spans: Project) -> None:
    rng = np.random.default_rng(1)
    for path in _next_span(spans).rglob("*.png"):
        pixels = np.asarray(Image.open(path)).astype(int) + rng.integers(-3, 4, (12, 16, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    result = _run(spans)
    assert result["nodes"]["DriftGate"]["state"] == "complete", result
    assert result["exit_code"] in (0, 3)


def test_a_kept_schema_refuses_a_class_it_does_not_know_and_misses_one(
    spans: Project, tmp_path: pathlib.Path
) -> None:
    schema = tmp_path / "schema.pbtxt"
    schema.write_text(
        """
        feature {
          name: "image/label"
          type: BYTES
          presence { min_fraction: 1.0 min_count: 1 }
          string_domain { value: "cherry" value: "leaf" value: "storm" }
        }
        feature { name: "image/brightness" type: FLOAT float_domain { min: 0.9 } }
        """
    )
    _next_span(spans)
    result = _run(spans, f"gate.schema_file={schema}", "drift.accept=true")
    assert result["exit_code"] == 2
    assert result["failed_node"] == "DataGate"
    assert "class 'storm' is in the schema and has no images" in result["error"]
    assert "label: Unexpected string values" in result["error"]
    assert "brightness: Out-of-range values" in result["error"]


def test_the_schema_can_be_kept_and_is_held_against_later_data(
    spans: Project, tmp_path: pathlib.Path
) -> None:
    kept = tmp_path / "kept.pbtxt"
    schema.freeze(spans.workdir, kept, overwrite=False)
    assert 'value: "cherry"' in kept.read_text()
    with pytest.raises(InputError, match="--force"):
        schema.freeze(spans.workdir, kept, overwrite=False)
    result = _run(spans, f"gate.schema_file={kept}", "drift.accept=true")
    assert result["nodes"]["KeptSchema"]["state"] == "complete"
    kept.write_text(kept.read_text().replace('value: "cherry"', 'value: "plum"'))
    result = _run(spans, f"gate.schema_file={kept}", "drift.accept=true")
    assert result["exit_code"] == 2
    assert "cherry" in result["error"]
    assert "class 'plum' is in the schema and has no images" in result["error"]
