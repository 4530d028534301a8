"""`imagemill check`: what a configuration would learn from, before anything runs."""

from __future__ import annotations

import json

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from components.image_example_gen.report import DataReport, inspect_folder
from components.image_example_gen.source import shown
from modules.errors import InputError
from modules.features import SPLITS
from pipeline.config import Config

_SHOWN_FILES = 20
_BAR = 30


def check(config: Config, out: Console, err: Console, as_json: bool) -> None:
    """Prints the data by class and split, the sizes, and the files that would be left out.

    Raises:
      InputError: when there is no data, or so many bad files that a run would stop.
    """
    if not config.data.path:
        raise InputError("No data: give --data DIR, or data.path in the configuration.")
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("Looking at files", total=None)
        report = inspect_folder(
            config.data.path,
            config.data.ingest,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    if as_json:
        print(json.dumps(report.to_json(), ensure_ascii=False))
    else:
        _print(report, out)
    _fail_on_too_many_bad(report, config)


def _fail_on_too_many_bad(report: DataReport, config: Config) -> None:
    for name in report.classes:
        if not any(report.counts[split].get(name) for split in SPLITS):
            raise InputError(
                f"No file of class {name!r} can be learned from: a run would stop. Mend its files."
            )
    limit = config.data.max_bad_fraction
    if report.files and len(report.bad) / report.files > limit:
        raise InputError(
            f"{len(report.bad):,} of {report.files:,} files cannot be learned from, more than "
            f"data.max_bad_fraction allows ({limit:g}): a run would stop. "
            "Mend or remove them, or raise the limit."
        )


def _print(report: DataReport, out: Console) -> None:
    table = Table("class", box=None, pad_edge=False)
    for split in SPLITS:
        table.add_column(split, justify="right")
    table.add_column("all", justify="right")
    for name in report.classes:
        counts = [report.counts[split].get(name, 0) for split in SPLITS]
        table.add_row(Text(name), *(f"{count:,}" for count in [*counts, sum(counts)]))
    totals = [sum(report.counts[split].values()) for split in SPLITS]
    table.add_section()
    table.add_row("all", *(f"{count:,}" for count in [*totals, sum(totals)]), style="bold")
    out.print(table)
    out.print(f"Splits: {_origin(report)}.")

    formats = ", ".join(f"{count:,} {name}" for name, count in report.formats.items())
    out.print(f"Formats: {formats or 'none'}; {report.bytes / 1e6:,.1f} MB.")
    sizes = list(report.sizes.items())
    common = ", ".join(f"{size} ({count:,})" for size, count in sizes[:3])
    out.print(f"Sizes: {common}{f' and {len(sizes) - 3:,} more' if len(sizes) > 3 else ''}.")
    if len(sizes) > 1:
        _print_histogram(report, out)
    if report.ignored:
        passed = ", ".join(f"{count:,} {kind}" for kind, count in report.ignored.items())
        out.print(f"Passed over: {passed}.")
    for name in report.empty_classes:
        out.print(Text(f"Empty class folder: {name}", "yellow"))

    if not report.complete:
        out.print(
            f"{report.decoded:,} of {report.files:,} files were decoded in the time given, the others judged "
            "by their headers; the run decodes all.",
            soft_wrap=True,
        )
    if report.duplicates:
        out.print(f"{_files(report.duplicates)} with the bytes of another; equal images stay in one split.")
    for path, other, reason in report.clashes[:_SHOWN_FILES]:
        out.print(Text(f"  {shown(path)}: {reason}: {shown(other)}", "yellow"), soft_wrap=True)
    if report.clashes:
        out.print("  What happens to these is said by data.duplicates; by default they are left out.")
    if len(report.clashes) > _SHOWN_FILES:
        out.print(f"  and {len(report.clashes) - _SHOWN_FILES:,} more clashes; --json lists them all.")
    if report.bad:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in report.reasons.items())
        out.print(Text(f"{_files(len(report.bad))} would be left out: {reasons}.", "yellow"))
        for one in report.bad[:_SHOWN_FILES]:
            out.print(Text(f"  {shown(one.path)}: {one.reason}: {one.detail}"), soft_wrap=True)
        if len(report.bad) > _SHOWN_FILES:
            out.print(f"  and {len(report.bad) - _SHOWN_FILES:,} more; --json lists them all.")
    else:
        out.print(Text("No bad files.", "green"))


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _origin(report: DataReport) -> str:
    if not report.ready_splits:
        return "divided as a first run will do it; a later one keeps what earlier ones divided"
    carved = [split for split in SPLITS if split not in report.ready_splits]
    return f"{', '.join(report.ready_splits)} ready" + (
        f"; {', '.join(carved)} carved out of train" if carved else ""
    )


def _print_histogram(report: DataReport, out: Console) -> None:
    most = max(count for _, _, count in report.side_histogram)
    out.print("Shorter side in pixels:")
    for low, high, count in report.side_histogram:
        bar = "█" * max(1, round(_BAR * count / most))
        out.print(f"  {low:>5} to {high - 1:<5} {bar} {count:,}")
