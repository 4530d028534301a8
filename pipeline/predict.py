"""`imagemill predict`: asks a model server about images, a line each."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.text import Text

from pipeline import given
from serving.client import BadImage, Classifier, Prediction
from serving.errors import ModelNotFound, ServingError

Form = Literal["table", "json", "csv"]
#: Of one image: its name and the answer.
Answer = tuple[str, Prediction | BadImage]


class Shown(NamedTuple):
    """How answers are shown: as what, and how many of the likeliest classes."""

    form: Form = "table"
    top: int = 1


def predict(
    arguments: Iterable[str], classifier: Classifier, shown: Shown, out: Console, err: Console
) -> int:
    """Prints the likeliest classes of every image as the answers come in; JSON is one list at the end.

    Args:
      arguments: files, folders, patterns, or `-`; see `given.images`.
      classifier: a connection to the model.
      shown: the form.
      out, err: where answers and complaints go.

    Returns:
      Exit code: 0 when every image was classified, 1 when the server did not answer, 2 when an image or
      the model's name was wrong.

    Raises:
      InputError: a pattern or folder without images.
    """
    answers = _answers(given.images(arguments), classifier)
    try:
        match shown.form:
            case "table":
                failed = _table(answers, shown.top, out, err)
            case "csv":
                failed = _csv(answers, shown.top, err)
            case "json":
                failed = _json(answers, shown.top, err)
    except ServingError as error:
        _complain(err, str(error))
        return 2 if isinstance(error, ModelNotFound) else 1
    except BrokenPipeError:  # whoever reads has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 2 if failed else 0


def _answers(images: Iterator[given.Given], classifier: Classifier) -> Iterator[Answer]:
    names: deque[str] = deque()  # of what was sent and not yet answered

    def sent() -> Iterator[str | bytes]:
        for name, image in images:
            names.append(name)
            yield image

    for result in classifier.classify_many(sent()):
        yield names.popleft(), result


def _table(answers: Iterator[Answer], top: int, out: Console, err: Console) -> int:
    failed = width = 0
    for name, result in answers:
        if isinstance(result, BadImage):
            failed += 1
            _complain(err, f"{name}: {result.reason}")
            continue
        width = max(width, len(name))
        scores = "  ".join(f"{score.label}  {score.probability:.4f}" for score in result.top(top))
        if result.abstained:
            scores = f"(abstains)  {scores}"
        out.print(Text(f"{name:<{width}}  {scores}"), soft_wrap=True)
    return failed


def _csv(answers: Iterator[Answer], top: int, err: Console) -> int:
    failed = 0
    writer = csv.writer(sys.stdout, lineterminator="\n")
    more = [f"{name}_{rank}" for rank in range(2, top + 1) for name in ("label", "confidence")]
    writer.writerow(["image", "label", "confidence", *more, "model_version", "error"])
    for name, result in answers:
        if isinstance(result, BadImage):
            failed += 1
            _complain(err, f"{name}: {result.reason}")
            writer.writerow([name, *[""] * (2 * top), "", result.reason])
            continue
        scores = [value for score in result.top(top) for value in (score.label, f"{score.probability:.6f}")]
        scores += [""] * (2 * top - len(scores))
        writer.writerow([name, *scores, result.model_version, ""])
    return failed


def _json(answers: Iterator[Answer], top: int, err: Console) -> int:
    entries = []
    failed = 0
    for name, result in answers:
        if isinstance(result, BadImage):
            failed += 1
            _complain(err, f"{name}: {result.reason}")
        entries.append(entry(name, result, top))
    print(json.dumps(entries, ensure_ascii=False))
    return failed


def entry(name: str, result: Prediction | BadImage, top: int) -> dict[str, Any]:
    """One answer as JSON."""
    if isinstance(result, BadImage):
        return {"image": name, "error": result.reason}
    return {
        "image": name,
        "label": result.label,
        "abstained": result.abstained,
        "confidence": result.confidence,
        "top": [{"label": score.label, "probability": score.probability} for score in result.top(top)],
        "probabilities": list(result.probabilities),
        "model_version": result.model_version,
    }


def _complain(err: Console, text: str) -> None:
    err.print(Text(text, "red"), soft_wrap=True)
