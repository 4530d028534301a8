"""PredictionService.Predict: from named tensors to named tensors, with the checks of TensorFlow Serving.

Checks and wording follow servables/tensorflow/predict_util.cc. Shapes are not compared with the signature:
the graph itself refuses what it cannot take, in the real server as here.
"""

from typing import Any

from serving import protos, tensors
from serving.batching import Call
from serving.loader import Servable
from serving.status import StatusCode, fail

DEFAULT_SIGNATURE = "serving_default"


def signature_of(servable: Servable, name: str) -> tuple[str, Any]:
    """The signature that a request names, or the default one."""
    name = name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        fail(StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    return name, signature


def fill_spec(spec: Any, servable: Servable, signature: str = "") -> None:
    """Says in an answer which model, version and signature gave it."""
    spec.name = servable.name
    spec.version.value = servable.version
    if signature:
        spec.signature_name = signature


def predict(servable: Servable, request: Any, call: Call) -> Any:
    """Answers a `PredictRequest`; raises `StatusError`."""
    name, signature = signature_of(servable, request.model_spec.signature_name)
    inputs = _inputs(signature, request)
    outputs = _outputs(signature, request)
    arrays = servable.run(name, inputs, outputs, call)
    response = protos.predict.PredictResponse()
    fill_spec(response.model_spec, servable, name)
    for alias, array in zip(outputs, arrays, strict=True):
        tensors.from_numpy(array, response.outputs[alias])
    return response


def _inputs(signature: Any, request: Any) -> list[Any]:
    wanted, given = sorted(signature.inputs), sorted(request.inputs)
    if len(wanted) != len(given):
        extra, missing = sorted(set(given) - set(wanted)), sorted(set(wanted) - set(given))
        fail(
            StatusCode.INVALID_ARGUMENT,
            f"input size does not match signature: {len(given)}!={len(wanted)} len({{{','.join(given)}}}) != "
            f"len({{{','.join(wanted)}}}). Sent extra: {{{','.join(extra)}}}. "
            f"Missing but required: {{{','.join(missing)}}}.",
        )
    arrays = []
    for alias in given:
        if alias not in signature.inputs:
            fail(
                StatusCode.INVALID_ARGUMENT,
                f"input tensor alias not found in signature: {alias}. "
                f"Inputs expected to be in the set {{{','.join(wanted)}}}.",
            )
        try:
            arrays.append(tensors.to_numpy(request.inputs[alias]))
        except ValueError:
            fail(StatusCode.INVALID_ARGUMENT, f"tensor parsing error: {alias}")
        expected, provided = signature.inputs[alias].dtype, request.inputs[alias].dtype
        if expected != provided:  # the graph would notice too, but `Session::Run` words it like this
            fail(
                StatusCode.INVALID_ARGUMENT,
                f"Expects arg[{len(arrays) - 1}] to be {tensors.dtype_name(expected)} "
                f"but {tensors.dtype_name(provided)} is provided",
            )
    return arrays


def _outputs(signature: Any, request: Any) -> tuple[str, ...]:
    chosen: dict[str, None] = {}
    for alias in request.output_filter:
        if alias not in signature.outputs:
            fail(
                StatusCode.INVALID_ARGUMENT,
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {{{','.join(sorted(signature.outputs))}}}.",
            )
        if alias in chosen:
            fail(StatusCode.INVALID_ARGUMENT, f"duplicate output tensor alias: {alias}")
        chosen[alias] = None
    return tuple(chosen) or tuple(sorted(signature.outputs))
