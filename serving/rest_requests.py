"""JSON bodies to request messages, by the rules of TensorFlow Serving's REST API.

Both forms of predict are read: `instances`, a list with one entry a row, and `inputs`, a whole tensor each.
Bytes come as `{"b64": "..."}`. Rules and wording: tensorflow/serving util/json_tensor.cc.
"""

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from serving import protos, tensors
from serving.status import StatusCode, StatusError, fail

_T = protos.types
_SMALL_INTS = (_T.DT_INT32, _T.DT_INT16, _T.DT_INT8, _T.DT_UINT8)
#: For each integer type: what may be sent, and the field that carries it.
_INTS = {
    **dict.fromkeys(_SMALL_INTS, (-(2**31), 2**31 - 1, "int_val")),
    _T.DT_INT64: (-(2**63), 2**63 - 1, "int64_val"),
    _T.DT_UINT32: (0, 2**32 - 1, "uint32_val"),
    _T.DT_UINT64: (0, 2**64 - 1, "uint64_val"),
}
#: For each float type: the largest exact integer, the largest value, and the field.
_FLOATS = {
    _T.DT_FLOAT: (2**24 - 1, 3.4028234663852886e38, "float_val"),
    _T.DT_DOUBLE: (2**53 - 1, 1.7976931348623157e308, "double_val"),
}
_MAX_QUOTED = 300
_MAX_DEPTH = 64

Inputs = Mapping[str, Any]  # alias to TensorInfo


def predict_request(body: bytes, request: Any, inputs_of: Callable[[str], Inputs]) -> bool:
    """Fills a `PredictRequest` from a body.

    Args:
      body: the JSON text.
      request: its model_spec is filled but for the signature.
      inputs_of: the inputs of a signature by its name, empty for the default one.

    Returns whether the body is in row form, and so the answer must be. Raises `StatusError`.
    """
    document = _parse(body)
    _fill_signature(document, request)
    inputs = inputs_of(request.model_spec.signature_name)
    if not inputs:
        name = request.model_spec.signature_name or "DEFAULT"
        _invalid(f"Failed to get input map for signature: {name}")
    if "instances" in document and "inputs" in document:
        _wrong(
            document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        )
    if "instances" in document:
        instances = document["instances"]
        if not isinstance(instances, list):
            _wrong(document, "Excepting 'instances' to be an list/array")
        if not instances:
            _wrong(document, "No values in 'instances' array")
        _fill_rows(instances, inputs, request)
        return True
    if "inputs" in document:
        _fill_columns(document["inputs"], inputs, request)
        return False
    return _invalid("Missing 'inputs' or 'instances' key")


def examples_request(body: bytes, request: Any) -> None:
    """Fills a `ClassificationRequest` or `RegressionRequest` from a body; raises `StatusError`."""
    document = _parse(body)
    _fill_signature(document, request)
    target = request.input.example_list
    if "context" in document:
        target = request.input.example_list_with_context
        _fill_example(document["context"], target.context)
    if "examples" not in document:
        _wrong(document, "When method is classify, key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list):
        _wrong(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        _wrong(document, "'examples' value is an empty array")
    for value in examples:
        _fill_example(value, target.examples.add())


def _invalid(message: str) -> NoReturn:
    fail(StatusCode.INVALID_ARGUMENT, message)


def _quoted(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}..."


def _wrong(value: Any, what: str) -> NoReturn:
    _invalid(f"JSON Value: {_quoted(value)} {what}")


def _kind(value: Any) -> str:
    names = {type(None): "Null", dict: "Object", list: "Array", str: "String"}
    return str(value) if isinstance(value, bool) else names.get(type(value), "Number")


def _parse(body: bytes) -> dict[str, Any]:
    if not body:
        _invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body.decode())
    except json.JSONDecodeError as error:
        _invalid(f"JSON Parse error: Invalid value. at offset: {error.pos}")
    except RecursionError:
        _invalid("JSON Parse error: nested too deeply")
    except ValueError as error:  # no UTF-8, or a number of thousands of digits
        _invalid(f"JSON Parse error: {error}")
    if not isinstance(document, dict):
        _wrong(document, "Is not object")
    return document


def _fill_signature(document: dict[str, Any], request: Any) -> None:
    if "signature_name" in document:
        if not isinstance(document["signature_name"], str):
            _wrong(document, "not formatted correctly. 'signature_name' key must be a string value.")
        request.model_spec.signature_name = document["signature_name"]


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _fill_rows(instances: list, inputs: Inputs, request: Any) -> None:
    if not isinstance(instances[0], dict) and len(inputs) > 1:
        _invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as "
            "per tensorinfo_map"
        )
    named = _is_named(instances[0])
    rows: dict[str, list] = {}
    for index, instance in enumerate(instances):
        if _is_named(instance) != named:
            wanted, got = ("object", "list") if named else ("value/list", "object")
            _invalid(f"Expecting {wanted} but got {got} at item {index} of input list")
        if not named:
            rows.setdefault(next(iter(inputs)), []).append(instance)
            continue
        for name, value in instance.items():
            if name not in inputs:
                _element(index, name, f"JSON object: does not have named input: {name}")
            rows.setdefault(name, []).append(value)
        if set(instance) != set(inputs):
            _invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {_quoted(instance)} "
                f"must only have keys: {','.join(sorted(inputs))}"
            )
    for name, values in rows.items():
        shape = None
        flat: list = []
        for index, value in enumerate(values):
            try:
                row_shape = _shape(value)
                _flatten(value, row_shape, 0, inputs[name].dtype, flat)
            except StatusError as error:
                _element(index, name if named else "", error.message)
            if shape is not None and row_shape != shape:
                message = f"Expecting shape {_text(shape)} but got: {_text(row_shape)}"
                if math.prod(row_shape) != math.prod(shape):
                    message = f"Expecting tensor size: {math.prod(shape)} but got: {math.prod(row_shape)}"
                _element(index, name if named else "", message)
            shape = row_shape
        _fill(request.inputs[name], inputs[name].dtype, (len(values), *(shape or ())), flat)


def _element(index: int, name: str, message: str) -> NoReturn:
    key = f" key: {name}" if name else ""
    _invalid(
        f"Failed to process element: {index}{key} of 'instances' list. Error: INVALID_ARGUMENT: {message}"
    )


def _text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _fill_columns(value: Any, inputs: Inputs, request: Any) -> None:
    if not _is_named(value):
        if len(inputs) > 1:
            _invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as "
                "per tensorinfo_map"
            )
        value = {next(iter(inputs)): value}
    for name, info in inputs.items():
        if name not in value:
            _invalid(f"Missing named input: {name} in 'inputs' object.")
        shape, flat = _shape(value[name]), []
        _flatten(value[name], shape, 0, info.dtype, flat)
        _fill(request.inputs[name], info.dtype, shape, flat)


def _shape(value: Any) -> tuple[int, ...]:
    """The shape that the first elements of nested lists announce."""
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        if len(shape) > _MAX_DEPTH:
            _invalid(f"a tensor has at most {_MAX_DEPTH} dimensions")
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _flatten(value: Any, shape: tuple[int, ...], level: int, dtype: int, flat: list) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            _wrong(
                value,
                f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {len(shape)}",
            )
        flat.append(_scalar(value, dtype))
        return
    if level >= len(shape):
        _invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        told = f"at level: {level} expected size: {shape[level]}"
        _invalid(f"Encountered list at unexpected size: {len(value)} {told}")
    for item in value:
        _flatten(item, shape, level + 1, dtype, flat)


def _scalar(value: Any, dtype: int) -> Any:
    """A JSON value as the Python value that the tensor's field takes."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if dtype == _T.DT_STRING:
        if isinstance(value, str):
            return value.encode(errors="surrogatepass")
        if isinstance(value, dict):
            return _bytes(value)
    elif dtype in _FLOATS and number:
        return _lossless(value, dtype)
    elif dtype in _INTS and isinstance(value, int) and number:
        low, high, _ = _INTS[dtype]
        if low <= value <= high:
            return value
    elif dtype == _T.DT_BOOL and isinstance(value, bool):
        return value
    elif dtype not in (*_FLOATS, *_INTS, _T.DT_BOOL):
        name = tensors.dtype_name(dtype)
        fail(StatusCode.UNIMPLEMENTED, f"Conversion of JSON Value: {_quoted(value)} to type: {name}")
    return _wrong(value, f"Type: {_kind(value)} is not of expected type: {tensors.dtype_name(dtype)}")


def _lossless(value: float, dtype: int) -> float:
    exact, largest, _ = _FLOATS[dtype]
    if (isinstance(value, int) and abs(value) > exact) or (math.isfinite(value) and abs(value) > largest):
        name = tensors.dtype_name(dtype)
        _invalid(f"Cannot convert JSON value: {_quoted(value)} to {name} without loss of precision.")
    return value


def _bytes(value: dict) -> bytes:
    if not _is_base64(value):
        _wrong(value, "not formatted correctly for base64 data")
    text = value["b64"].translate({ord("-"): "+", ord("_"): "/"})
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return _invalid("Unable to base64 decode")


def _fill(proto: Any, dtype: int, shape: tuple[int, ...], flat: list) -> None:
    proto.dtype = dtype
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    if dtype == _T.DT_STRING:
        proto.string_val.extend(flat)
    elif dtype == _T.DT_BOOL:
        proto.bool_val.extend(flat)
    else:
        getattr(proto, (_FLOATS.get(dtype) or _INTS[dtype])[2]).extend(flat)


def _fill_example(value: Any, example: Any) -> None:
    if not isinstance(value, dict):
        _invalid(f"Example must be JSON object but got JSON {_kind(value)}")
    for name, content in value.items():
        feature = example.features.feature[name]
        for item in content if isinstance(content, list) else [content]:
            kind, converted = _feature_value(name, item)
            if feature.WhichOneof("kind") not in (None, kind):
                told = feature.WhichOneof("kind").removesuffix("_list")
                _invalid(f"Unexpected element type in feature: {name} expecting type: {told}")
            getattr(feature, kind).value.append(converted)


def _feature_value(name: str, item: Any) -> tuple[str, Any]:
    match item:
        case bool():
            return "int64_list", int(item)
        case str():
            return "bytes_list", item.encode(errors="surrogatepass")
        case int() if -(2**63) <= item < 2**63:
            return "int64_list", item
        case int():
            return _invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        case float():
            return "float_list", _lossless(item, _T.DT_FLOAT)
        case dict() if _is_base64(item):
            return "bytes_list", _bytes(item)
    return _invalid(f"Feature: {name} has element with unexpected JSON type: {_kind(item)}")
