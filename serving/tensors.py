"""numpy arrays to and from `tensorflow.TensorProto`, without TensorFlow.

Reads both forms that clients send: typed values (`float_val`, `string_val`, ...), where the last value stands
for all that follow, and raw `tensor_content`. Writes typed values, as TensorFlow Serving answers.
Semantics: `Tensor::FromProto` and `Tensor::AsProtoField` in tensorflow/core/framework/tensor.cc.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving import protos

#: A few bytes of request can declare a tensor of terabytes; the declared size is bounded before it is made.
MAX_TENSOR_BYTES = 1 << 31


@dataclass(frozen=True)
class _Kind:
    field: str
    numpy: np.dtype


_KINDS: dict[int, _Kind] = {
    protos.types.DT_FLOAT: _Kind("float_val", np.dtype(np.float32)),
    protos.types.DT_DOUBLE: _Kind("double_val", np.dtype(np.float64)),
    protos.types.DT_HALF: _Kind("half_val", np.dtype(np.float16)),
    protos.types.DT_INT8: _Kind("int_val", np.dtype(np.int8)),
    protos.types.DT_INT16: _Kind("int_val", np.dtype(np.int16)),
    protos.types.DT_INT32: _Kind("int_val", np.dtype(np.int32)),
    protos.types.DT_INT64: _Kind("int64_val", np.dtype(np.int64)),
    protos.types.DT_UINT8: _Kind("int_val", np.dtype(np.uint8)),
    protos.types.DT_UINT16: _Kind("int_val", np.dtype(np.uint16)),
    protos.types.DT_UINT32: _Kind("uint32_val", np.dtype(np.uint32)),
    protos.types.DT_UINT64: _Kind("uint64_val", np.dtype(np.uint64)),
    protos.types.DT_BOOL: _Kind("bool_val", np.dtype(np.bool_)),
    protos.types.DT_COMPLEX64: _Kind("scomplex_val", np.dtype(np.complex64)),
    protos.types.DT_COMPLEX128: _Kind("dcomplex_val", np.dtype(np.complex128)),
    protos.types.DT_STRING: _Kind("string_val", np.dtype(object)),
}
_ENUM_OF_NUMPY = {kind.numpy: enum for enum, kind in _KINDS.items()}


def dtype_of(enum: int) -> np.dtype | None:
    """The numpy dtype (object for strings) of a `DataType` value, or None when it has no counterpart."""
    kind = _KINDS.get(enum)
    return kind.numpy if kind else None


def dtype_name(enum: int) -> str:
    """`DT_FLOAT` as TensorFlow's messages name it: `float`."""
    name = protos.types.DataType.Name(enum) if enum in protos.types.DataType.values() else f"unknown ({enum})"
    return name.removeprefix("DT_").lower()


def to_numpy(proto: Any) -> np.ndarray:
    """The array that a `TensorProto` holds; strings become an object array of `bytes`.

    Raises `ValueError` when the proto is not a valid tensor: unknown type or rank, negative size, contents
    that do not fit the shape, or more than `MAX_TENSOR_BYTES` declared.
    """
    kind = _KINDS.get(proto.dtype)
    if kind is None:
        raise ValueError(f"no tensor can be made of type {dtype_name(proto.dtype)}")
    if proto.tensor_shape.unknown_rank:
        raise ValueError("the shape is of unknown rank")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if any(size < 0 for size in shape):
        raise ValueError(f"the shape {shape} has a negative size")
    count = math.prod(shape)
    if count * kind.numpy.itemsize > MAX_TENSOR_BYTES:
        raise ValueError(f"the shape {shape} declares more than {MAX_TENSOR_BYTES} bytes")
    if len(shape) > 254:
        raise ValueError(f"a tensor has at most 254 dimensions, not {len(shape)}")
    if proto.tensor_content:
        flat = _from_content(proto.tensor_content, kind, count)
    else:
        flat = _from_values(getattr(proto, kind.field), kind, count)
    if len(shape) > 64:
        raise ValueError(f"at most 64 dimensions are supported here, not {len(shape)}")
    return flat.reshape(shape)


def _from_content(content: bytes, kind: _Kind, count: int) -> np.ndarray:
    if kind.field == "string_val":
        return _strings_from_content(content, count)
    if len(content) != count * kind.numpy.itemsize:
        raise ValueError(f"tensor_content has {len(content)} bytes for {count} values of {kind.numpy}")
    return np.frombuffer(content, kind.numpy)


def _strings_from_content(content: bytes, count: int) -> np.ndarray:
    """Strings in `tensor_content`: the lengths as varints, then the bytes of all."""
    flat, lengths, position = np.empty(count, object), [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            if position >= len(content) or shift > 28:
                raise ValueError("tensor_content is no list of strings")
            byte = content[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if position + sum(lengths) != len(content):
        raise ValueError("tensor_content does not hold the strings that it announces")
    for index, length in enumerate(lengths):
        flat[index] = content[position : position + length]
        position += length
    return flat


def _from_values(values: Any, kind: _Kind, count: int) -> np.ndarray:
    given = len(values)
    if kind.field == "string_val":
        flat = np.empty(count, object)
        flat[: min(given, count)] = values[:count]
        flat[given:] = values[-1] if given else b""
        return flat
    if kind.field == "half_val":  # carried as the 16 bits in an integer
        array = np.array(values, np.uint16, copy=True).view(np.float16)
    elif kind.field in ("scomplex_val", "dcomplex_val"):  # real and imaginary parts alternate
        real = np.float32 if kind.field == "scomplex_val" else np.float64
        array = np.array(values[: given // 2 * 2], real).view(kind.numpy)
    else:
        array = np.array(values, np.int64 if kind.field == "int_val" else kind.numpy).astype(
            kind.numpy, copy=False
        )
    if len(array) == count:
        return array
    if len(array) == 0:
        return np.zeros(count, kind.numpy)
    if len(array) > count:
        return array[:count]
    return np.concatenate([array, np.full(count - len(array), array[-1], kind.numpy)])


def from_numpy(array: np.ndarray, proto: Any | None = None) -> Any:
    """Writes an array into a `TensorProto` (a new one when none is given) as typed values.

    Strings are an object array of `bytes`. Raises `ValueError` for a dtype that TensorFlow does not have.
    """
    proto = protos.tensor.TensorProto() if proto is None else proto
    dtype = np.dtype(object) if array.dtype.kind in "SU" else array.dtype
    enum = _ENUM_OF_NUMPY.get(dtype)
    if enum is None:
        raise ValueError(f"an array of {array.dtype} has no counterpart among TensorFlow's types")
    proto.dtype = enum
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    values = getattr(proto, _KINDS[enum].field)
    if enum == protos.types.DT_STRING:
        values.extend([v.encode() if isinstance(v, str) else v for v in array.ravel().tolist()])
    elif dtype == np.float16:
        values.extend(array.ravel().view(np.uint16).tolist())
    elif dtype.kind == "c":
        values.extend(np.ascontiguousarray(array).ravel().view(array.real.dtype).tolist())
    else:
        values.extend(array.ravel().tolist())
    return proto


def strings(values: list[bytes], proto: Any | None = None) -> Any:
    """A `TensorProto` of strings of shape (n,): the form in which images are sent."""
    proto = protos.tensor.TensorProto() if proto is None else proto
    proto.dtype = protos.types.DT_STRING
    proto.tensor_shape.dim.add().size = len(values)
    proto.string_val.extend(values)
    return proto
