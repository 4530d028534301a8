"""The report of real runs, looked at in a real browser; the plots one by one; suspect labels of a fault."""

from __future__ import annotations

import io
import json
import pathlib
import random
import re
import shutil
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from tfx.components.trainer.fn_args_utils import FnArgs

from components.report import inside, kinds
from components.report import run as report_run
from components.report.blocks import Gallery, Part, Picture, Section, Table, Text
from components.report.context import Context
from components.report.page import make, render
from components.report.sources import Sources
from modules import training
from modules.errors import InputError
from pipeline import demo, plot, report
from tests.browser import chromium
from tests.conftest import Project

SECTIONS = ["Summary", "Data", "Training", "Network", "Mistakes"]
OF_A_SEARCH = [name for name, kind in kinds.KINDS.items() if kind.section == "tuning"]


@pytest.fixture(scope="module")
def page(project: Project) -> pathlib.Path:
    run_id, path = report.find(project.workdir, project.first["run_id"])
    assert run_id == project.first["run_id"]
    return path


@pytest.fixture(scope="module")
def poor(project: Project) -> dict[str, Any]:
    """A run whose model is wrong often, and so not blessed."""
    return project.run(
        "evaluate.min_accuracy=1.0",
        "train.epochs=1",
        "train.learning_rate=1e-7",
        "augment=[horizontal_flip, {rotation: {degrees: 20}}]",
    )


@pytest.fixture(scope="module")
def context(project: Project) -> Context:
    return plot.context(project.workdir, project.first["run_id"])


@pytest.fixture(scope="module")
def poor_context(project: Project, poor: dict[str, Any]) -> Context:
    return plot.context(project.workdir, poor["run_id"])


def test_the_report_stands_in_a_browser(page: pathlib.Path) -> None:
    address = page.as_uri()
    with chromium() as browser:
        pictures = {}
        for width, dark in ((1200, False), (1200, True), (390, False)):
            browser.open(address, width, dark=dark)
            pictures[width, dark] = np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("L"))
            # Nothing hangs over the side, where a phone would scroll.
            assert browser.value("document.documentElement.scrollWidth") <= width
        titles = browser.value(
            "[...document.querySelectorAll('section > h2')].map(title => title.textContent)"
        )
        assert titles == SECTIONS
        failed = browser.value(
            "[...document.querySelectorAll('.bad')].map(text => text.textContent)"
            ".filter(text => text.includes('could not be made'))"
        )
        assert failed == []
        unnamed = browser.value(
            "document.querySelectorAll('img:not([alt]), svg:not([aria-label]), svg[aria-label=\"\"]').length"
        )
        assert unnamed == 0
        ids = browser.value("[...document.querySelectorAll('[id]')].map(one => one.id)")
        assert len(ids) == len(set(ids))
        assert browser.value("document.querySelectorAll('svg.plot').length") >= 12
        assert browser.pdf().startswith(b"%PDF")
    assert browser.complaints == []
    assert {one for one in browser.requests if not one.startswith("data:")} == {address}
    for picture in pictures.values():
        assert picture.std() > 5, "an empty page"
    assert pictures[1200, False].mean() > 180
    assert pictures[1200, True].mean() < 80
    assert page.stat().st_size < 5_000_000


def test_nothing_in_the_page_leads_elsewhere(page: pathlib.Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert {one for one in re.findall(r"""(?:src|href)=["']([^"']*)""", text) if one[:1] not in "#d"} == set()
    assert {one for one in re.findall(r"https?://[^\s\"'<]+", text) if "www.w3.org" not in one} == set()


def test_the_summary_says_what_ran(page: pathlib.Path, project: Project) -> None:
    text = page.read_text(encoding="utf-8")
    assert f"run {project.first['run_id']}" in text
    for node in ("ImageExampleGen", "Trainer", "Evaluator", "InfraValidator"):
        assert re.search(rf"{node} \d+\.\d s", text), node
    assert str(project.data) in text
    assert "mnist_cnn" in text
    assert "broken.jpg" in text, "the file that was left out"


def test_a_model_that_is_not_blessed_has_its_report(project: Project, poor: dict[str, Any]) -> None:
    assert poor["exit_code"] == 3
    _, path = report.find(project.workdir, poor["run_id"])
    text = path.read_text(encoding="utf-8")
    assert "min_accuracy" in text
    assert 'class="text bad"' in text


def test_the_page_is_found_and_copied(project: Project, page: pathlib.Path, tmp_path: pathlib.Path) -> None:
    copy = report.show(page, tmp_path, open_=False)
    assert copy == tmp_path / "report.html"
    assert copy.read_bytes() == page.read_bytes()
    with pytest.raises(InputError, match=r"There is no run 20000101-000000 .* `imagemill history`"):
        report.find(project.workdir, "20000101-000000")


@pytest.mark.parametrize("kind", [name for name in kinds.KINDS if name not in OF_A_SEARCH])
def test_every_plot_is_drawn_by_itself(kind: str, poor_context: Context, tmp_path: pathlib.Path) -> None:
    figure = kinds.draw(kind, poor_context)
    target = tmp_path / "plot.png"
    figure.savefig(target)
    assert np.asarray(Image.open(target).convert("L")).std() > 2, "an empty plot"


@pytest.mark.parametrize("kind", OF_A_SEARCH)
def test_a_run_without_a_search_has_no_plot_of_one(kind: str, context: Context) -> None:
    with pytest.raises(InputError, match=f"This run has no plot '{kind}': nothing was tuned"):
        kinds.draw(kind, context)


def test_a_plot_is_written_in_the_format_of_its_name(project: Project, tmp_path: pathlib.Path) -> None:
    plot.write("confusion", project.workdir, None, tmp_path / "it.svg")
    assert "cherry" in (tmp_path / "it.svg").read_text(encoding="utf-8")


def test_untrained_kernels_are_those_that_training_began_with(
    project: Project, context: Context, tmp_path: pathlib.Path
) -> None:
    """Training at no learning rate to speak of leaves the initial weights where they were."""
    settings = context.sources.settings
    still = settings.model_copy(
        update={"train": settings.train.model_copy(update={"learning_rate": 1e-30, "epochs": 1})}
    )
    examples = context.sources.uris.examples
    training.run_fn(
        FnArgs(
            train_files=[f"{examples}/Split-train/*"],
            eval_files=[f"{examples}/Split-validation/*"],
            transform_graph_path=context.sources.uris.transform_graph,
            serving_model_dir=str(tmp_path / "model"),
            model_run_dir=str(tmp_path / "node" / "model_run" / "1"),
            custom_config={"settings": still.model_dump_json(), "code": "none"},
        )
    )
    started_with = keras.saving.load_model(tmp_path / "node/model_run/1/classifier.keras", compile=False)
    trained, untrained = context.sources.kernels
    np.testing.assert_array_equal(
        untrained, inside.first_kernels(started_with, context.sources.sample_image.shape)
    )
    assert not np.allclose(trained, untrained)


def test_a_part_that_fails_says_why_and_the_others_stand(context: Context, tmp_path: pathlib.Path) -> None:
    uris = context.sources.uris
    evaluation = tmp_path / "evaluation"
    shutil.copytree(uris.evaluation, evaluation)
    (evaluation / "answers.npz").unlink()
    broken = Sources(type(uris)(**{**vars(uris), "evaluation": str(evaluation)}))
    text = make(Context(broken, context.run, context.config))
    assert text.count("This part could not be made") == 3  # confusion, errors, suspect labels
    assert "answers.npz" in text
    assert all(f"<h2>{title}</h2>" in text for title in SECTIONS)


def test_names_of_files_and_classes_cannot_break_the_page(context: Context) -> None:
    nasty = '<script>alert("x")</script>&"\''
    picture = Picture([np.zeros((8, 8, 3), np.uint8)], [nasty], nasty)
    blocks = [Text(nasty), Table([nasty], [[nasty]], nasty), Gallery([picture], nasty)]
    text = render(context, [Section("nasty", nasty, [Part(nasty, blocks)])])
    assert "<script" not in text


def test_without_a_word_from_the_launcher_the_report_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(report_run.VARIABLE, "{not json")
    assert report_run.from_environment() == report_run.Run()


@pytest.mark.slow
def test_two_hundred_classes_fit_into_the_page(make_project) -> None:
    project = make_project()
    rng = np.random.default_rng(0)
    for path in project.data.iterdir():
        shutil.rmtree(path)
    for index in range(200):
        folder = project.data / f"class with a rather long name {index:03}"
        folder.mkdir()
        for number in range(8):
            pixels = rng.integers(0, 256, (48, 48, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    result = project.run("data.image_size=[48, 48]", "train.epochs=1", "evaluate.min_accuracy=0")
    assert "error" not in result, result
    _, path = report.find(project.workdir)
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) < 5_000_000
    assert "could not be made" not in text
    assert "the first 40 of 200 classes" in text


@pytest.mark.slow
def test_a_planted_fault_is_named(make_project) -> None:
    """Three in ten scans of a digit lie in folders of other digits: that digit is named first.

    The wrong labels are in the test split too, so the classes that they lie in fall below the floor.
    """
    project = make_project()
    shutil.rmtree(project.data)
    demo.write_digits(project.data)
    sixes = sorted((project.data / "6").iterdir())
    chosen = random.Random(0).sample(sixes, round(0.3 * len(sixes)))
    for number, path in enumerate(chosen):
        other = [digit for digit in "0123456789" if digit != "6"][number % 9]
        path.rename(project.data / other / f"planted-{path.name}")
    result = project.run(
        "data.image_size=[8, 8]",
        "data.channels=1",
        "model.architecture=fashion_cnn",
        "train.epochs=12",
        "train.learning_rate=0.001",
        "train.batch_size=32",
        "evaluate.min_class_recall=0.95",
    )
    assert result["exit_code"] == 3, result
    assert any("recall" in reason for reason in result["not_blessed_because"])
    _, path = report.find(project.workdir)
    rows = [json.loads(line) for line in path.with_name("suspects.jsonl").read_text().splitlines()]
    found = {row["filename"] for row in rows if "planted-" in row["filename"]}
    # The method names those that the network is surest of, about half of them, and little else.
    assert len(found) > 0.35 * len(chosen)
    assert len(found) > 0.75 * len(rows)
    text = path.read_text(encoding="utf-8")
    first = text.index("the most suspect first")
    assert re.search(r"<tbody>\s*<tr><td>(.*?)</td>", text[first:]).group(1) == "6"
