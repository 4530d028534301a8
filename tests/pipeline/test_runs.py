"""Records of runs: one at a time, nothing half-written, readable afterwards."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from modules.errors import InputError
from pipeline import runs


def test_folders_of_one_second_differ_and_sort_by_time(tmp_path: pathlib.Path) -> None:
    folders = [runs.create(tmp_path) for _ in range(3)]
    for folder in folders:
        folder.write(folder.request, {"config": {}})
    assert [folder.run_id for folder in runs.history(tmp_path)] == [folder.run_id for folder in folders]


def test_a_result_is_read_back_and_a_missing_one_is_empty(tmp_path: pathlib.Path) -> None:
    folder = runs.create(tmp_path)
    assert folder.read(folder.result) == {}
    folder.write(folder.result, {"classes": ["größer", "猫"]})
    assert folder.read(folder.result) == {"classes": ["größer", "猫"]}
    assert sorted(path.name for path in folder.path.iterdir()) == ["result.json"]


def test_no_history_says_what_to_do(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="imagemill run CONFIG"):
        runs.history(tmp_path)


def test_two_runs_do_not_share_a_working_directory(tmp_path: pathlib.Path) -> None:
    code = f"""
import pathlib
from pipeline import runs
with runs.exclusive(pathlib.Path({str(tmp_path)!r})):
    print("held", flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {other.pid}"), runs.exclusive(tmp_path):
            pass
        # A process that is killed holds nothing any more.
        other.kill()
        other.wait(30)
        with runs.exclusive(tmp_path):
            pass
