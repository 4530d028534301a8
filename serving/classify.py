"""Classify, Regress and MultiInference: `tf.Example`s in, classes with scores or values out.

Checks and wording follow servables/tensorflow/classifier.cc, regressor.cc and multi_inference.cc. As in the
real server since 2.x, a signature's method name is not looked at unless the server is told to: a TF 2
signature serves when its input is called `inputs` and its outputs `classes` and `scores`, or `outputs`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from serving import protos
from serving.batching import Call
from serving.loader import Servable
from serving.predict import DEFAULT_SIGNATURE, fill_spec
from serving.status import StatusCode, fail

CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"
_INPUT = "inputs"
_CLASSES, _SCORES, _VALUES = "classes", "scores", "outputs"


def classify(servable: Servable, request: Any, call: Call, check_method: bool = False) -> Any:
    """Answers a `ClassificationRequest`; raises `StatusError`."""
    name, signature = _signature(servable, request.model_spec.signature_name)
    outputs = _classify_outputs(signature, check_method)
    examples = _examples(request.input)
    arrays = servable.run(name, [examples], outputs, call)
    response = protos.classification.ClassificationResponse()
    fill_spec(response.model_spec, servable, request.model_spec.signature_name)
    _fill_classes(dict(zip(outputs, arrays, strict=True)), len(examples), response.result)
    return response


def regress(servable: Servable, request: Any, call: Call, check_method: bool = False) -> Any:
    """Answers a `RegressionRequest`; raises `StatusError`."""
    name, signature = _signature(servable, request.model_spec.signature_name)
    outputs = _regress_outputs(signature, check_method)
    examples = _examples(request.input)
    (values,) = servable.run(name, [examples], outputs, call)
    response = protos.regression.RegressionResponse()
    fill_spec(response.model_spec, servable, request.model_spec.signature_name)
    _fill_values(values, len(examples), response.result)
    return response


def multi_inference(servable: Servable, request: Any, call: Call, check_method: bool = False) -> Any:
    """Answers a `MultiInferenceRequest`: several signatures of one model on the same examples."""
    _check_tasks(request)
    prepared, seen, inputs = [], set(), set()
    for task in request.tasks:
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if name in seen:
            fail(StatusCode.INVALID_ARGUMENT, f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        signature = servable.signatures.get(name)
        if signature is None:
            fail(StatusCode.INVALID_ARGUMENT, f"Requested signature not found in model graph: {name}")
        if task.method_name == CLASSIFY_METHOD:
            outputs = _classify_outputs(signature, check_method)
        elif task.method_name == REGRESS_METHOD:
            outputs = _regress_outputs(signature, check_method)
        else:
            fail(StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        inputs.add(signature.inputs[_INPUT].name)
        prepared.append((task, name, outputs))
    if len(inputs) > 1:
        fail(StatusCode.INVALID_ARGUMENT, "Input tensor must be the same for all Signatures.")
    examples = _examples(request.input)
    response = protos.inference.MultiInferenceResponse()
    for task, name, outputs in prepared:
        arrays = servable.run(name, [examples], outputs, call)
        result = response.results.add()
        fill_spec(result.model_spec, servable, task.model_spec.signature_name)
        if task.method_name == CLASSIFY_METHOD:
            answers = dict(zip(outputs, arrays, strict=True))
            _fill_classes(answers, len(examples), result.classification_result)
        else:
            _fill_values(arrays[0], len(examples), result.regression_result)
    return response


def _check_tasks(request: Any) -> None:
    names = [task.model_spec.name for task in request.tasks]
    if not all(names):
        fail(StatusCode.INVALID_ARGUMENT, "Found ModelSpec with an empty model name.")
    if len(set(names)) > 1:
        fail(
            StatusCode.INVALID_ARGUMENT,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        )


def _signature(servable: Servable, name: str) -> tuple[str, Any]:
    name = name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        fail(StatusCode.INVALID_ARGUMENT, f"No signature was found with the name: {name}")
    return name, signature


def _check_method(signature: Any, kind: str, wanted: str, check_method: bool) -> None:
    if check_method and signature.method_name != wanted:
        fail(
            StatusCode.INVALID_ARGUMENT,
            f"Expected {kind} signature method_name to be {wanted}. Was: {signature.method_name}",
        )
    if len(signature.inputs) != 1:
        fail(StatusCode.INVALID_ARGUMENT, "Expected one input Tensor.")


def _classify_outputs(signature: Any, check_method: bool) -> tuple[str, ...]:
    _check_method(signature, "classification", CLASSIFY_METHOD, check_method)
    if len(signature.outputs) not in (1, 2):
        fail(
            StatusCode.INVALID_ARGUMENT,
            f"Expected one or two output Tensors, found {len(signature.outputs)}",
        )
    if _INPUT not in signature.inputs:
        fail(StatusCode.INVALID_ARGUMENT, f"No classification inputs found in SignatureDef: {signature}")
    outputs = tuple(alias for alias in (_CLASSES, _SCORES) if alias in signature.outputs)
    if not outputs:
        fail(
            StatusCode.INVALID_ARGUMENT,
            "Expected classification signature outputs to contain at least one of "
            f'"{_CLASSES}" or "{_SCORES}". Signature was: {signature}',
        )
    return outputs


def _regress_outputs(signature: Any, check_method: bool) -> tuple[str, ...]:
    _check_method(signature, "regression", REGRESS_METHOD, check_method)
    if len(signature.outputs) != 1:
        fail(StatusCode.INVALID_ARGUMENT, "Expected one output Tensor.")
    if _INPUT not in signature.inputs:
        fail(StatusCode.INVALID_ARGUMENT, f"No regression inputs found in SignatureDef: {signature}")
    if _VALUES not in signature.outputs:
        fail(StatusCode.INVALID_ARGUMENT, f"No regression outputs found in SignatureDef: {signature}")
    return (_VALUES,)


def _examples(request_input: Any) -> np.ndarray:
    """The examples of an `Input`, serialized, string (n,); a context is put before each of them."""
    kind = request_input.WhichOneof("kind")
    context = b""
    messages: Any = ()
    if kind == "example_list":
        messages = request_input.example_list.examples
    elif kind == "example_list_with_context":
        messages = request_input.example_list_with_context.examples
        context = request_input.example_list_with_context.context.SerializeToString()
    if not messages:
        fail(StatusCode.INVALID_ARGUMENT, "Input is empty.")
    examples = np.empty(len(messages), object)
    # Serialized messages one after the other parse as one that holds the fields of both.
    examples[:] = [context + message.SerializeToString() for message in messages]
    return examples


def _debug_shape(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _fill_classes(answers: Mapping[str, np.ndarray], count: int, result: Any) -> None:
    for alias, array in answers.items():
        wanted, dtype = ("DT_STRING", object) if alias == _CLASSES else ("DT_FLOAT", np.float32)
        if array.ndim != 2:
            fail(
                StatusCode.INVALID_ARGUMENT,
                f"Expected Tensor shape: [batch_size num_classes] but got {_debug_shape(array)}",
            )
        if array.dtype != dtype:
            fail(StatusCode.INVALID_ARGUMENT, f"Expected {alias} Tensor of {wanted}. Got: {array.dtype}")
        if len(array) != count:
            fail(
                StatusCode.INVALID_ARGUMENT,
                f"Expected {alias} output batch size of {count}. Got: {len(array)}",
            )
    widths = [array.shape[1] for array in answers.values()]
    if len(set(widths)) > 1:
        fail(
            StatusCode.INVALID_ARGUMENT,
            f"Tensors class and score should match in dim_size(1). Got {widths[0]} vs. {widths[1]}",
        )
    labels = answers[_CLASSES].tolist() if _CLASSES in answers else None
    scores = answers[_SCORES].tolist() if _SCORES in answers else None
    for row in range(count):
        classes = result.classifications.add().classes
        for column in range(widths[0]):
            entry = classes.add()
            if labels is not None:
                entry.label = labels[row][column].decode(errors="replace")
            if scores is not None:
                entry.score = scores[row][column]


def _fill_values(values: np.ndarray, count: int, result: Any) -> None:
    if not (values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1)):
        fail(
            StatusCode.INVALID_ARGUMENT,
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            + _debug_shape(values),
        )
    if len(values) != count:
        fail(
            StatusCode.INVALID_ARGUMENT,
            f"Input batch size did not match output batch size: {count} vs. {len(values)}",
        )
    if values.dtype != np.float32:
        fail(StatusCode.INVALID_ARGUMENT, f"Expected output Tensor of DT_FLOAT.  Got: {values.dtype}")
    for value in values.ravel().tolist():
        result.regressions.add().value = value
