"""The documents say what the code does."""

from __future__ import annotations

import pathlib
import re
import runpy

ROOT = pathlib.Path(__file__).parent.parent


def test_the_configuration_page_is_generated_from_the_models() -> None:
    generator = runpy.run_path(str(ROOT / "docs" / "generate_configuration.py"))
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == generator["text"](), (
        "docs/configuration.md is out of date: run `make docs`"
    )


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for document in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
            if "://" not in target and not (document.parent / target).exists():
                broken.append(f"{document.name}: {target}")
    assert broken == []
