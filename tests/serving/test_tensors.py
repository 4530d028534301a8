"""Tensor protos mean the same here as in TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf

from serving import protos, tensors

ARRAYS = [
    np.array([[1.5, -2.0], [0.0, 3e38]], np.float32),
    np.array([1e300], np.float64),
    np.array([1.5, -0.25], np.float16),
    np.array([[-128, 127]], np.int8),
    np.array([1, 2**31 - 1], np.int32),
    np.array([-(2**63)], np.int64),
    np.array([0, 255], np.uint8),
    np.array([2**32 - 1], np.uint32),
    np.array([2**64 - 1], np.uint64),
    np.array([True, False]),
    np.array([1 + 2j, -3j], np.complex64),
    np.array([1 + 2j, -3j], np.complex128),
    np.array([[b"a", b""], [b"\x00\xff", b"long" * 100]], object),
    np.array(3.5, np.float32),
    np.zeros((0, 4), np.float32),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_tensorflow_reads_what_is_written(array: np.ndarray):
    proto = tensors.from_numpy(array)
    np.testing.assert_array_equal(tf.make_ndarray(proto), array)
    np.testing.assert_array_equal(tensors.to_numpy(proto), array)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_what_tensorflow_writes_is_read(array: np.ndarray):
    np.testing.assert_array_equal(tensors.to_numpy(tf.make_tensor_proto(array)), array)


def test_answers_use_typed_values_as_tensorflow_serving_does():
    proto = tensors.from_numpy(np.array([0.5], np.float32))
    assert list(proto.float_val) == [0.5]
    assert not proto.tensor_content


def test_the_last_value_stands_for_all_that_follow():
    proto = protos.tensor.TensorProto(dtype=protos.types.DT_FLOAT, float_val=[1.0, 2.0])
    proto.tensor_shape.dim.add().size = 4
    assert tensors.to_numpy(proto).tolist() == [1.0, 2.0, 2.0, 2.0]


def test_strings_in_raw_content_are_read():
    proto = protos.tensor.TensorProto(dtype=protos.types.DT_STRING, tensor_content=b"\x02\x00\x03abXYZ")
    proto.tensor_shape.dim.add().size = 3
    assert tensors.to_numpy(proto).tolist() == [b"ab", b"", b"XYZ"]


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({"dtype": protos.types.DT_FLOAT}, [-1]),
        ({"dtype": protos.types.DT_FLOAT}, [2**40]),
        ({"dtype": protos.types.DT_FLOAT, "tensor_content": b"abc"}, [1]),
        ({"dtype": protos.types.DT_STRING, "tensor_content": b"\x05a"}, [1]),
        ({"dtype": protos.types.DT_RESOURCE}, [1]),
        ({"dtype": protos.types.DT_INVALID}, [1]),
        ({"dtype": 999}, [1]),
        ({"dtype": protos.types.DT_FLOAT}, [1] * 300),
    ],
    ids=["negative", "huge", "short", "short-strings", "resource", "invalid", "unknown", "rank"],
)
def test_what_is_no_tensor_is_refused(fields: dict, shape: list[int]):
    proto = protos.tensor.TensorProto(**fields)
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    with pytest.raises(ValueError, match=r"\w"):
        tensors.to_numpy(proto)
