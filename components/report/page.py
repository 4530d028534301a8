"""The page: sections of parts, each made on its own, so that one that fails says so and the others stand."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import time
from collections.abc import Callable, Iterator

import jinja2
import markupsafe
from absl import logging

from components.report.blocks import Block, Part, Plot, Section, Text, is_number, number
from components.report.context import Context
from components.report.plots.style import to_svg
from components.report.sections import data, mistakes, network, summary, training, tuning

_FOLDER = pathlib.Path(__file__).parent
PartMaker = Callable[[Context], Iterator[Block]]

#: Anchor, title and parts; a section whose parts have nothing to say is left out.
SECTIONS: tuple[tuple[str, str, dict[str, PartMaker]], ...] = (
    ("summary", "Summary", summary.PARTS),
    ("data", "Data", data.PARTS),
    ("tuning", "Tuning", tuning.PARTS),
    ("training", "Training", training.PARTS),
    ("network", "Network", network.PARTS),
    ("mistakes", "Mistakes", mistakes.PARTS),
)


def make(context: Context) -> str:
    """The page as HTML that needs nothing but itself."""
    made = []
    for anchor, title, parts in SECTIONS:
        every = [_part(name, make_blocks, context) for name, make_blocks in parts.items()]
        if said := [part for part in every if part.blocks]:
            made.append(Section(anchor, title, said))
    return render(context, made)


def _part(title: str, make_blocks: PartMaker, context: Context) -> Part:
    began = time.monotonic()
    blocks: list[Block] = []
    try:
        for block in make_blocks(context):
            blocks.append(_drawn(block, title, len(blocks)))
    except Exception as error:
        # A report with a hole is worth more than none, and a model is not to wait for a plot.
        logging.exception("The part %r of the report failed.", title)
        blocks.append(
            Text(f"This part could not be made: {type(error).__name__}: {_first_line(error)}", "bad")
        )
    logging.info("Report: %s took %.2f s", title, time.monotonic() - began)
    return Part(title, blocks)


def _drawn(block: Block, title: str, place: int) -> Block:
    """Plots are drawn where they are made, so that one that cannot be drawn fails its own part."""
    if not isinstance(block, Plot):
        return block
    name = re.sub(r"\W+", "-", title.lower()) + f"-{place}"
    return dataclasses.replace(block, svg=markupsafe.Markup(to_svg(block.figure, name, block.alt)))


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "no message")


def render(context: Context, sections: list[Section]) -> str:
    """Puts sections into the template."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = number
    environment.tests["numeric"] = is_number
    name = context.config.get("push", {}).get("model_name") or "model"
    return environment.get_template("page.html.j2").render(
        name=name,
        run_id=context.run.run_id,
        written=time.strftime("%Y-%m-%d %H:%M"),
        sections=sections,
        css=markupsafe.Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),
    )
