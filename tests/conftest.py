"""Fixtures that many tests share; the expensive ones are made once a session."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

COLOURS = {"cherry": (200, 30, 40), "leaf": (40, 180, 60), "sea": (30, 80, 200)}


def write_colours(folder: pathlib.Path, images_a_class: int = 30) -> pathlib.Path:
    """Class folders of 16x12 noise around a colour: learned in an epoch or two, and never all right."""
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(images_a_class):
            noise = rng.normal(colour, 70, (12, 16, 3)).clip(0, 255).astype(np.uint8)
            kind = ("png", "jpg", "bmp")[number % 3]
            Image.fromarray(noise).save(folder / name / f"{number:02}.{kind}")
    return folder


TINY = """
data:
  path: {data}
  image_size: [16, 16]
  split: {{train: 0.6, validation: 0.2, test: 0.2, seed: 0}}
model: {{architecture: mnist_cnn}}
train: {{epochs: 3, batch_size: 8, learning_rate: 0.003}}
push: {{model_name: colours}}
"""


class Project:
    """A tiny project on disk: data, configuration, and a working directory that runs share."""

    def __init__(self, folder: pathlib.Path):
        self.data = write_colours(folder / "some photos")
        (self.data / "sea" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
        self.config = folder / "config.yaml"
        self.config.write_text(TINY.format(data="some photos"), encoding="utf-8")
        self.workdir = folder / "work dir"

    def versions(self) -> list[str]:
        """What a model server would see, the oldest first."""
        return sorted(path.name for path in (self.workdir / "serving" / "colours").glob("*"))

    def run(self, *overrides: str, cache: bool = True, to: str | None = None) -> dict[str, Any]:
        """Runs the pipeline in this process, as the worker does, and returns its result."""
        from pipeline import config, runs, worker

        loaded = config.load(self.config, overrides)
        folder = runs.create(self.workdir)
        folder.write(
            folder.request,
            {"config": loaded.model_dump(mode="json"), "cache": cache, "to": to, "started": 0.0},
        )
        worker.main(folder)
        return folder.read(folder.result)


@pytest.fixture(scope="session")
def make_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Project]:
    return lambda: Project(tmp_path_factory.mktemp("a project"))


@pytest.fixture(scope="session")
def project(make_project: Callable[[], Project]) -> Project:
    """A project that ran once, successfully; tests may run it again, but leave the data alone."""
    project = make_project()
    project.first = project.run()
    assert project.first.get("exit_code") == 0, project.first
    return project
