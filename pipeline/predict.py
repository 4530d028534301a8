"""`imagemill predict`: asks a model server about images, a line each."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from rich.console import Console
from rich.text import Text

from serving.client import BadImage, Classifier, Prediction
from serving.errors import ModelNotFound, ServingError


def predict(
    images: list[pathlib.Path], server: str, model_name: str, out: Console, err: Console, as_json: bool
) -> int:
    """Prints class and confidence of every image.

    Args:
      images: files.
      server: `host:port`.
      model_name: name under which the server serves the model.
      out, err: where answers and complaints go.
      as_json: print one JSON list at the end instead of a line an image.

    Returns:
      Exit code: 0 when every image was classified, 1 when the server did not answer, 2 when an image or
      the model's name was wrong.
    """
    width = max(len(str(image)) for image in images)
    entries: list[dict[str, Any]] = []
    failed = 0
    try:
        with Classifier(server, model_name) as classifier:
            for result in classifier.classify_many(images):
                entries.append(_entry(result))
                if isinstance(result, BadImage):
                    failed += 1
                    err.print(Text(str(result), "red"), soft_wrap=True)
                elif not as_json:
                    label = "(abstains)" if result.abstained else result.label
                    out.print(f"{result.source:<{width}}  {label}  {result.confidence:.4f}", soft_wrap=True)
    except ServingError as error:
        err.print(Text(str(error), "red"), soft_wrap=True)
        return 2 if isinstance(error, ModelNotFound) else 1
    if as_json:
        print(json.dumps(entries, ensure_ascii=False))
    return 2 if failed else 0


def _entry(result: Prediction | BadImage) -> dict[str, Any]:
    if isinstance(result, BadImage):
        return {"image": result.source, "error": result.reason}
    return {
        "image": result.source,
        "label": result.label,
        "abstained": result.abstained,
        "confidence": result.confidence,
        "probabilities": list(result.probabilities),
        "model_version": result.model_version,
    }
