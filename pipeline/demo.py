"""`make demo`: handwritten digits from files to a served model, asked over gRPC as a client would."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Table

from modules import features
from modules.errors import InputError
from pipeline import config as configs
from pipeline import run, runs, view

_ROOT = pathlib.Path(__file__).parent.parent
_FOLDER = _ROOT / "demo"
_CONFIG = _ROOT / "configs" / "digits.yaml"
_SHOWN = 8


def main() -> int:
    """Runs the demo; returns the exit code."""
    out, err = Console(highlight=False), Console(stderr=True, highlight=False)
    data, workdir = _FOLDER / "digits", _FOLDER / "work"
    count = write_digits(data)
    out.print(
        f"[bold]Data[/]  {count:,} scans of handwritten digits as PNG files in {view.shown_path(data)}",
        soft_wrap=True,
    )

    out.print("\n[bold]Pipeline[/]")
    with view.RunView(err) as live:
        result = run.run(configs.load(_CONFIG, data=data), workdir, True, live.listen)
    log = runs.RunFolder(workdir / "runs" / result["run_id"]).log
    view.print_result(out, result, str(log))
    if result["exit_code"]:
        return result["exit_code"]

    out.print("\n[bold]Serving[/]  the test split's files, sent over gRPC")
    name = configs.load(_CONFIG).push.model_name
    correct = total = 0
    table = Table("image", "is", "predicted", "confidence", box=None, pad_edge=False)
    # Imported here: gRPC must not be loaded before the pipeline's process is started.
    from serving.client import Classifier
    from serving.local import LocalServer

    with (
        LocalServer(workdir / "serving" / name, name) as server,
        Classifier(server.address, name) as classifier,
    ):
        paths = [data / path for path in test_files(result)]
        for path, prediction in zip(paths, classifier.classify_many(paths), strict=True):
            total += 1
            correct += prediction.label == path.parent.name
            # Spread over the split, so that not all shown are zeros.
            if total % (len(paths) // _SHOWN) == 0 and table.row_count < _SHOWN:
                table.add_row(
                    str(path.relative_to(data)),
                    path.parent.name,
                    prediction.label,
                    f"{prediction.confidence:.4f}",
                )
    out.print(table)
    out.print(f"\nServed accuracy over {total:,} test images: {correct / total:.4f}")
    return 0


def write_digits(folder: pathlib.Path) -> int:
    """Writes scikit-learn's digits as `<digit>/<number>.png`, 8x8 grey; returns how many there are."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(label) / f"{number:04}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            # 17 levels, 0 to 16, spread over the 256 of a PNG.
            Image.fromarray((image * 255 / 16).round().astype("uint8")).save(path)
    return len(digits.target)


def test_files(result: dict[str, Any]) -> list[str]:
    """Files of the test split, relative to the data folder, as the ingest's manifest lists them."""
    examples = pathlib.Path(result["nodes"]["ImageExampleGen"]["outputs"]["examples"])
    with (examples / "manifest.jsonl").open(encoding="utf-8") as file:
        entries = [json.loads(line) for line in file]
    return sorted(entry["path"] for entry in entries if entry["split"] == features.TEST)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
