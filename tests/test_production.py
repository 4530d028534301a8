"""What comes after the push: batches without a server, labels that move, drift of what is asked."""

from __future__ import annotations

import csv
import json
import pathlib
import shutil

import numpy as np
import pytest

from modules.errors import InputError
from pipeline import batch, drift, promote
from serving.client import Classifier
from serving.errors import ModelNotFound
from serving.local import LocalServer
from tests.conftest import Project


@pytest.fixture
def base(project: Project, tmp_path: pathlib.Path) -> pathlib.Path:
    """The folder of a model with three versions, all equal."""
    (pushed,) = project.versions()[-1:]
    for version in ("1", "2", "3"):
        shutil.copytree(project.workdir / "serving" / "colours" / pushed, tmp_path / "colours" / version)
    return tmp_path / "colours"


@pytest.fixture
def photos(project: Project, tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "photos"
    shutil.copytree(project.data, folder)
    (folder / ".hidden").write_text("no image")
    return folder


def test_a_batch_goes_on_where_it_was_interrupted(
    base: pathlib.Path, photos: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in the second bundle of six; an image that changed meanwhile is classified anew."""
    monkeypatch.setattr(batch, "BUNDLE", 16)
    model, output = batch.model_folder(base, None), tmp_path / "answers.csv"
    assert model.name == "3"
    process = batch.ClassifyBundle.process
    begun: list[str] = []

    def interrupted(self: batch.ClassifyBundle, bundle: batch.Bundle) -> None:
        begun.append(bundle.part)
        if len(begun) == 2:
            raise KeyboardInterrupt
        process(self, bundle)

    with monkeypatch.context() as patched, pytest.raises(BaseException):  # noqa: B017 - Beam may wrap it
        patched.setattr(batch.ClassifyBundle, "process", interrupted)
        batch.run(str(photos), output, model)
    assert not output.exists()
    done = batch.run(str(photos), output, model)
    assert done == batch.Summary(images=91, failed=1, resumed=16)
    assert not output.with_name("answers.csv.parts").exists()
    with output.open(newline="", encoding="utf-8") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    files = sorted(str(path.relative_to(photos)) for path in photos.glob("*/*"))
    assert list(rows) == files
    assert rows["sea/broken.jpg"]["error"] and not rows["sea/broken.jpg"]["label"]
    right = [row["label"] == name.split("/")[0] for name, row in rows.items() if row["label"]]
    assert len(right) == 90 and sum(right) > 60
    with pytest.raises(InputError, match="give --force"):
        batch.run(str(photos), output, model)

    lines = tmp_path / "answers.jsonl"
    batch.run(str(photos), lines, model)
    answers = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert [answer["image"] for answer in answers] == files
    assert all(abs(sum(answer["probabilities"]) - 1) < 1e-5 for answer in answers if "label" in answer)


def test_labels_move_on_a_running_server(base: pathlib.Path, photos: pathlib.Path) -> None:
    """The whole way: a version becomes canary, then stable; the next one; and back."""
    file = promote.keep_config(base, "colours")
    image = next(photos.glob("leaf/*.png"))
    flags = [
        f"--model_config_file={file}",
        "--model_config_file_poll_wait_seconds=0.1",
        "--file_system_poll_wait_seconds=0.1",
        "--allow_version_labels_for_unavailable_models=true",
    ]

    def version_of(label: str | None) -> int:
        with Classifier(server.address, "colours", version_label=label) as classifier:
            return classifier.classify(image).model_version

    def move(version: int | None, label: str = promote.STABLE) -> promote.Moved:
        moved = promote.promote(file, None, version, label)
        promote.wait(moved, label, server.address, 60)
        return moved

    with LocalServer(base, "colours", flags=flags) as server:
        assert version_of(None) == 3
        with pytest.raises(ModelNotFound, match="label 'stable'"):
            version_of("stable")
        move(1)
        move(2, "canary")
        assert (version_of("stable"), version_of("canary"), version_of(None)) == (1, 2, 2)
        assert move(None).after == {"stable": 2, "canary": 2, "previous": 1}
        assert (version_of("stable"), version_of("previous")) == (2, 1)
        # A label in use moves to nothing that is not loaded: the first call has it loaded.
        assert move(3, "canary").announced == 3
        assert version_of("canary") == 2
        assert move(3, "canary").announced is None
        assert (version_of("canary"), version_of("stable")) == (3, 2)
        back = promote.rollback(file, "colours")
        promote.wait(back, "stable", server.address, 60)
        assert (version_of("stable"), version_of("previous"), version_of("canary")) == (1, 2, 3)


def test_labels_are_refused_before_servers_refuse_them(base: pathlib.Path) -> None:
    file = promote.keep_config(base, "colours")
    untouched = file.read_text(encoding="utf-8")
    for version, label, message in (
        (None, "stable", "say which VERSION"),
        (9, "stable", "no version 9; there are 1, 2, 3"),
    ):
        with pytest.raises(InputError, match=message):
            promote.promote(file, None, version, label)
    with pytest.raises(InputError, match="nothing was promoted"):
        promote.rollback(file, None)
    with pytest.raises(InputError, match="lists no model 'birds'; it lists colours"):
        promote.promote(file, "birds", 1)
    with pytest.raises(InputError, match="no model config file"):
        promote.promote(base / "1" / "saved_model.pb", None, 1)
    assert file.read_text(encoding="utf-8") == untouched


def test_drift_tells_what_is_asked_that_was_not_learned(
    project: Project, base: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """The images of the training again move nothing; night pictures of the sea, larger ones, do."""
    served = project.workdir / "serving" / "colours"
    rng = np.random.default_rng(1)
    night = [rng.normal((10, 20, 60), 8, (40, 60, 3)).clip(0, 255).astype(np.uint8) for _ in range(60)]
    day = [path for path in sorted(project.data.glob("*/*")) if path.stem != "broken"]
    reports = {}
    for name, images in (("day", day), ("night", night)):
        prefix = tmp_path / name / "log"
        config = tmp_path / f"{name}.config"
        config.write_text(
            f"""model_config_list {{ config {{ name: "colours" base_path: "{served}" logging_config {{
              log_collector_config {{ type: "file" filename_prefix: "{prefix}" }}
              sampling_config {{ sampling_rate: 1 }} }} }} }}""",
            encoding="utf-8",
        )
        with (
            LocalServer(served, "colours", flags=[f"--model_config_file={config}"]) as server,
            Classifier(server.address, "colours") as classifier,
        ):
            assert all(answer.error is None for answer in classifier.classify_many(images, batch_size=8))
        reports[name] = drift.drift(str(prefix), project.workdir)
    assert reports["day"].images == 90 and reports["day"].run_id == reports["night"].run_id
    # Sixty images and ninety of the same kinds: their shares differ, but no constant may seem to have moved.
    assert not [clause for clause in reports["day"].moved if clause.startswith(("height", "width", "aspect"))]
    moved = " ".join(reports["night"].moved)
    assert "brightness is 0.0" in moved and "height is 40 on average, 12 before" in moved
    assert "class" in moved
    with pytest.raises(InputError, match="no logged request"):
        drift.drift(str(tmp_path / "nothing"), project.workdir)
    with pytest.raises(InputError, match=r"No run in .* pushed version 4"):
        drift.drift(str(tmp_path / "day" / "log"), project.workdir, 4)


def test_one_image_is_enough_to_show_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    report = drift.Report("20250101-000000", 1, 2, ["brightness is 0.1 on average, 0.5 before"])
    console = Console(highlight=False)
    drift.show(report, console, console)
    shown = capsys.readouterr().out
    assert "1 images asked" in shown and "brightness is 0.1" in shown
    assert "chance alone" in shown and "2 images could not be read" in shown
