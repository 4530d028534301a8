"""Pushing: whole or not at all, newest last, and never the same model twice."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from components.pusher.executor import push


@pytest.fixture
def model(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(b"weights")
    return folder


def _versions(base: pathlib.Path) -> list[str]:
    return sorted(path.name for path in base.iterdir())


def test_a_version_holds_the_whole_model(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    version = push(model, tmp_path / "serving" / "pets")
    assert version.name.isdecimal()
    assert (version / "saved_model.pb").read_bytes() == b"graph"
    assert (version / "variables" / "variables.index").read_bytes() == b"weights"


def test_an_equal_model_keeps_its_version(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    base = tmp_path / "serving"
    assert push(model, base) == push(model, base)
    assert len(_versions(base)) == 1


def test_another_model_becomes_a_greater_version_even_within_a_second(
    model: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    base = tmp_path / "serving"
    first = push(model, base)
    (model / "variables" / "variables.index").write_bytes(b"changed")
    second = push(model, base)
    assert int(second.name) > int(first.name)
    assert (first / "variables" / "variables.index").read_bytes() == b"weights"


def test_a_push_that_fails_leaves_no_version(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    base = tmp_path / "serving"
    (model / "assets").symlink_to(tmp_path / "nowhere")  # a file that cannot be copied
    with pytest.raises(shutil.Error):
        push(model, base)
    assert not [name for name in _versions(base) if name.isdecimal()]

    (model / "assets").unlink()
    version = push(model, base)
    assert _versions(base) == [version.name], "what the failed push left behind must be gone"
