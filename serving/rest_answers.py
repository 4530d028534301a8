"""Answer messages to JSON, as TensorFlow Serving's REST API prints them.

Floats are printed with the digits they need and no more; strings of outputs whose name ends in `_bytes` as
`{"b64": "..."}`. Source: tensorflow/serving util/json_tensor.cc and model_servers/http_rest_api_util.cc.
"""

import base64
import json
from typing import Any

import numpy as np
from google.protobuf import json_format

from serving import protos, tensors
from serving.status import StatusCode, fail


def predictions(response: Any, rows: bool) -> str:
    """A `PredictResponse` in the form of its request: `predictions` row by row, or `outputs` as tensors."""
    arrays = {alias: tensors.to_numpy(proto) for alias, proto in sorted(response.outputs.items())}
    if not arrays:
        fail(StatusCode.INVALID_ARGUMENT, "Cannot convert empty tensor map to JSON")
    if not rows:
        lists = {alias: _values(alias, array) for alias, array in arrays.items()}
        return _dump({"outputs": lists if len(lists) > 1 else next(iter(lists.values()))})
    size = 0
    for alias, array in arrays.items():
        if array.ndim == 0:
            fail(StatusCode.INVALID_ARGUMENT, f"Tensor name: {alias} has no shape information ")
        if len(array) < 1:
            fail(StatusCode.INVALID_ARGUMENT, f"Tensor name: {alias} has invalid batch size: {len(array)}")
        if size not in (0, len(array)):
            fail(
                StatusCode.INVALID_ARGUMENT,
                f"Tensor name: {alias} has inconsistent batch size: {len(array)} expecting: {size}",
            )
        size = len(array)
    columns = {alias: _values(alias, array) for alias, array in arrays.items()}
    if len(columns) == 1:
        return _dump({"predictions": next(iter(columns.values()))})
    return _dump(
        {"predictions": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]}
    )


def classifications(response: Any) -> str:
    """The result of a `ClassificationResponse`: for each example a list of label and score."""
    if not response.result.classifications:
        fail(StatusCode.INVALID_ARGUMENT, "Cannot convert empty ClassificationResults to JSON")
    return _dump(
        {
            "results": [
                [[entry.label, _short(entry.score)] for entry in classes.classes]
                for classes in response.result.classifications
            ]
        }
    )


def regressions(response: Any) -> str:
    """The result of a `RegressionResponse`: a value for each example."""
    if not response.result.regressions:
        fail(StatusCode.INVALID_ARGUMENT, "Cannot convert empty RegressionResults to JSON")
    return _dump({"results": [_short(entry.value) for entry in response.result.regressions]})


def model_status(response: Any) -> str:
    return json_format.MessageToJson(response, always_print_fields_with_no_presence=True)


def model_metadata(response: Any) -> str:
    """A `GetModelMetadataResponse`; the packed `Any` is printed without its type, as the real server does."""
    signatures = protos.get_model_metadata.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    spec, metadata = (
        json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        for message in (response.model_spec, signatures)
    )
    return json.dumps({"model_spec": spec, "metadata": {"signature_def": metadata}}, indent=1)


def error(message: str) -> str:
    return json.dumps({"error": message})


def _short(value: float) -> float:
    """A float32 as the float64 with the same shortest digits."""
    return float(str(np.float32(value)))


def _values(alias: str, array: np.ndarray) -> Any:
    if array.dtype == object:
        is_bytes = alias.endswith("_bytes")
        flat = [_string(value, is_bytes) for value in array.ravel().tolist()]
        strings = np.empty(array.size, object)
        strings[:] = flat
        return strings.reshape(array.shape).tolist()
    if array.dtype.kind == "c" or array.dtype == np.float16:
        fail(StatusCode.INVALID_ARGUMENT, f"Failed to write JSON value for tensor type: {array.dtype}")
    if array.dtype == np.float32:
        return array.astype(str).astype(np.float64).tolist()
    return array.tolist()


def _string(value: bytes, is_bytes: bool) -> Any:
    if is_bytes:
        return {"b64": base64.b64encode(value).decode()}
    return value.decode(errors="replace")


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
