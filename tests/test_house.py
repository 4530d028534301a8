"""The walls of the house: which room may import which, and what a light command must not import."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
ROOMS = ("pipeline", "components", "modules", "serving")
MAY_IMPORT = {
    "pipeline": {"pipeline", "components", "modules", "serving"},
    "components": {"components", "modules"},
    "modules": {"modules"},
    "serving": {"serving"},
}


def _imported_rooms(path: pathlib.Path) -> set[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.append(node.module or "")
    return {name.split(".")[0] for name in names} & set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_they_may(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    faults = {
        str(path.relative_to(ROOT)): sorted(_imported_rooms(path) - MAY_IMPORT[room])
        for path in files
        if _imported_rooms(path) - MAY_IMPORT[room]
    }
    assert faults == {}


def test_nothing_imports_tfx_v1() -> None:
    faults = [
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if "from tfx import v1" in path.read_text(encoding="utf-8")
    ]
    assert faults == []


# What every command but `run`, `serve` and `architectures` may load; each line is a start of a command.
LIGHT = {
    "help": "import pipeline.cli",
    "check": "import pipeline.cli, pipeline.check, pipeline.config",
    "run, in the process of the user": "import pipeline.cli, pipeline.run, pipeline.view, pipeline.config",
    "predict": "import pipeline.cli, pipeline.predict",
    "history": "import pipeline.cli, pipeline.runs",
    "report": "import pipeline.cli, pipeline.report",
    "plot, before it draws": "import pipeline.cli, pipeline.plot",
}


@pytest.mark.parametrize("command", LIGHT)
def test_light_commands_do_not_import_tensorflow(command: str) -> None:
    code = f"{LIGHT[command]}; import sys; print(*{{'tensorflow', 'tfx', 'keras'}}.intersection(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
