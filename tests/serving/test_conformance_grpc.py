"""What TensorFlow Serving answers over gRPC: every call, and every wrong call with its code and message.

Runs against the server of this repository, or against any other that serves the model which
`python -m tests.serving.tiny_model DIR` writes: set SERVING_GRPC_ADDRESS to its `host:port`.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from serving import protos, tensors
from tests.serving.samples import COLOURS, encoded
from tests.serving.tiny_model import CLASSES, LABEL, MODEL, VERSION

C = grpc.StatusCode
PREDICTION = "tensorflow.serving.PredictionService"
MODELS = "tensorflow.serving.ModelService"
IMAGE = encoded(COLOURS["green"])


@pytest.fixture(scope="module")
def channel(request: pytest.FixtureRequest) -> Iterator[grpc.Channel]:
    address = os.environ.get("SERVING_GRPC_ADDRESS") or request.getfixturevalue("server").address
    with grpc.insecure_channel(address) as opened:
        yield opened


@pytest.fixture(scope="module")
def call(channel: grpc.Channel) -> Callable[[str, str, Any, Any], Any]:
    def unary(service: str, method: str, request: Any, response_type: Any) -> Any:
        return channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response_type.FromString,
        )(request, timeout=20)

    return unary


@pytest.fixture(scope="module")
def predict(call: Callable) -> Callable[[Any], Any]:
    return lambda request: call(PREDICTION, "Predict", request, protos.predict.PredictResponse)


def predict_request(
    signature: str = "", version: int | None = None, label: str = "", name: str = MODEL, **inputs: Any
) -> Any:
    request = protos.predict.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    if label:
        request.model_spec.version_label = label
    for alias, value in inputs.items():
        tensors.from_numpy(value, request.inputs[alias])
    return request


def images(*data: bytes) -> np.ndarray:
    array = np.empty(len(data), object)
    array[:] = data
    return array


def refused(code: grpc.StatusCode, part: str, ask: Callable[[], Any]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        ask()
    assert (caught.value.code(), part in caught.value.details()) == (code, True), caught.value.details()


def test_predict_answers_all_outputs_as_typed_values(predict):
    response = predict(predict_request(image_bytes=images(IMAGE, encoded(COLOURS["red"]))))
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == (MODEL, VERSION, "serving_default")
    assert set(response.outputs) == {"probabilities", "label", "confidence"}
    assert list(response.outputs["label"].string_val) == [b"green", b"red"]
    probabilities = response.outputs["probabilities"]
    assert [dim.size for dim in probabilities.tensor_shape.dim] == [2, 3]
    assert len(probabilities.float_val) == 6 and not probabilities.tensor_content
    assert probabilities.dtype == protos.types.DT_FLOAT


def test_predict_by_version_label_signature_and_filter(predict):
    request = predict_request("serving_default", version=VERSION, image_bytes=images(IMAGE))
    request.output_filter.append("label")
    assert set(predict(request).outputs) == {"label"}
    by_label = predict(predict_request(label=LABEL, image_bytes=images(IMAGE)))
    assert by_label.model_spec.version.value == VERSION
    example = protos.example.Example()
    example.features.feature["image/encoded"].bytes_list.value.append(IMAGE)
    response = predict(predict_request("serving_examples", examples=images(example.SerializeToString())))
    assert response.outputs["label"].string_val[0] == b"green"


def test_predict_with_several_inputs_and_types(predict):
    x, y = np.array([[1, 2], [3, 4]], np.float32), np.array([10, -20], np.int64)
    response = predict(predict_request("arithmetic", x=x, y=y))
    assert tensors.to_numpy(response.outputs["total"]).tolist() == [[11, 12], [-17, -16]]
    assert list(response.outputs["text"].string_val) == [b"10", b"-20"]


def test_predict_reads_raw_tensor_content(predict):
    request = predict_request("mean", x=np.array([0.0], np.float32))
    request.inputs["x"].Clear()
    request.inputs["x"].dtype = protos.types.DT_FLOAT
    request.inputs["x"].tensor_shape.dim.add().size = 3
    request.inputs["x"].tensor_content = np.array([1, 2, 6], np.float32).tobytes()
    response = predict(request)
    assert tensors.to_numpy(response.outputs["mean"]) == 3.0
    assert not response.outputs["mean"].tensor_shape.dim


def test_predict_answers_nothing_for_no_images(predict):
    response = predict(predict_request("arithmetic", x=np.zeros((0, 2), np.float32), y=np.zeros(0, np.int64)))
    assert [dim.size for dim in response.outputs["total"].tensor_shape.dim] == [0, 2]


WRONG_PREDICT = {
    "no model spec": (lambda: protos.predict.PredictRequest(), C.INVALID_ARGUMENT, "Missing ModelSpec"),
    "no name": (
        lambda: predict_request(name="", version=VERSION, x=np.zeros(1)),
        C.INVALID_ARGUMENT,
        "ModelSpec has no name specified.",
    ),
    "unknown model": (
        lambda: predict_request(name="x", image_bytes=images(IMAGE)),
        C.NOT_FOUND,
        "Servable not found for request: Latest(x)",
    ),
    "unknown version": (
        lambda: predict_request(version=3, image_bytes=images(IMAGE)),
        C.NOT_FOUND,
        f"Servable not found for request: Specific({MODEL}, 3)",
    ),
    "unknown label": (
        lambda: predict_request(label="canary", image_bytes=images(IMAGE)),
        C.INVALID_ARGUMENT,
        "Unrecognized servable version label: canary",
    ),
    "unknown signature": (
        lambda: predict_request("nope", image_bytes=images(IMAGE)),
        C.FAILED_PRECONDITION,
        'Serving signature key "nope" not found.',
    ),
    "no input": (
        lambda: predict_request(),
        C.INVALID_ARGUMENT,
        "input size does not match signature: 0!=1 len({}) != len({image_bytes}). "
        "Sent extra: {}. Missing but required: {image_bytes}.",
    ),
    "an input too many": (
        lambda: predict_request(image_bytes=images(IMAGE), more=np.zeros(1, np.float32)),
        C.INVALID_ARGUMENT,
        "Sent extra: {more}",
    ),
    "another input": (
        lambda: predict_request(pixels=images(IMAGE)),
        C.INVALID_ARGUMENT,
        "input tensor alias not found in signature: pixels. Inputs expected to be in the set {image_bytes}.",
    ),
    "another type": (
        lambda: predict_request(image_bytes=np.zeros(1, np.float32)),
        C.INVALID_ARGUMENT,
        "to be string but float is provided",
    ),
    "rows that differ": (
        lambda: predict_request("arithmetic", x=np.zeros((3, 2), np.float32), y=np.zeros(2, np.int64)),
        C.INVALID_ARGUMENT,
        "",
    ),
    "no image": (lambda: predict_request(image_bytes=images(b"text")), C.INVALID_ARGUMENT, ""),
}


@pytest.mark.parametrize("case", WRONG_PREDICT)
def test_predict_refuses(predict, case: str):
    make, code, part = WRONG_PREDICT[case]
    refused(code, part, lambda: predict(make()))


def test_predict_refuses_wrong_filters(predict):
    request = predict_request(image_bytes=images(IMAGE))
    request.output_filter.append("logits")
    refused(
        C.INVALID_ARGUMENT,
        "output tensor alias not found in signature: logits Outputs expected to be in the set "
        "{confidence,label,probabilities}.",
        lambda: predict(request),
    )
    request.output_filter[:] = ["label", "label"]
    refused(C.INVALID_ARGUMENT, "duplicate output tensor alias: label", lambda: predict(request))


def test_predict_refuses_what_is_no_tensor(predict):
    request = predict_request(image_bytes=images(IMAGE))
    request.inputs["image_bytes"].dtype = protos.types.DT_FLOAT
    request.inputs["image_bytes"].tensor_content = b"abc"
    refused(C.INVALID_ARGUMENT, "tensor parsing error: image_bytes", lambda: predict(request))


def examples_input(target: Any, *data: bytes) -> None:
    for image in data:
        feature = target.example_list.examples.add().features.feature["image/encoded"]
        feature.bytes_list.value.append(image)


def test_classify_on_a_predict_signature(call):
    request = protos.classification.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = MODEL, "classify"
    examples_input(request.input, IMAGE, IMAGE)
    response = call(PREDICTION, "Classify", request, protos.classification.ClassificationResponse)
    assert len(response.result.classifications) == 2
    classes = response.result.classifications[0].classes
    assert [entry.label for entry in classes] == list(CLASSES)
    assert max(classes, key=lambda entry: entry.score).label == "green"
    assert response.model_spec.version.value == VERSION


def test_regress_on_a_predict_signature_with_a_shared_context(call):
    request = protos.regression.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = MODEL, "regress"
    shared = request.input.example_list_with_context
    shared.context.features.feature["image/encoded"].bytes_list.value.append(IMAGE)
    shared.examples.add()
    shared.examples.add()
    response = call(PREDICTION, "Regress", request, protos.regression.RegressionResponse)
    values = [entry.value for entry in response.result.regressions]
    assert len(values) == 2 and values[0] == values[1] > 0.9


def test_classify_and_regress_refuse(call):
    def classify(signature: str, *data: bytes) -> Any:
        request = protos.classification.ClassificationRequest()
        request.model_spec.name, request.model_spec.signature_name = MODEL, signature
        examples_input(request.input, *data)
        return call(PREDICTION, "Classify", request, protos.classification.ClassificationResponse)

    def regress(signature: str) -> Any:
        request = protos.regression.RegressionRequest()
        request.model_spec.name, request.model_spec.signature_name = MODEL, signature
        examples_input(request.input, IMAGE)
        return call(PREDICTION, "Regress", request, protos.regression.RegressionResponse)

    bad = C.INVALID_ARGUMENT
    refused(bad, "No signature was found with the name: nope", lambda: classify("nope", IMAGE))
    refused(bad, "Expected one or two output Tensors, found 3", lambda: classify("serving_examples", IMAGE))
    refused(bad, "Input is empty.", lambda: classify("classify"))
    refused(bad, "Expected classification signature outputs", lambda: classify("regress", IMAGE))
    refused(bad, "Expected one output Tensor.", lambda: regress("classify"))
    refused(bad, "Expected one input Tensor.", lambda: regress("arithmetic"))
    request = protos.classification.ClassificationRequest()
    refused(
        bad,
        "Missing ModelSpec",
        lambda: call(PREDICTION, "Classify", request, protos.classification.ClassificationResponse),
    )


def task(request: Any, signature: str, method: str, name: str = MODEL) -> None:
    added = request.tasks.add(method_name=f"tensorflow/serving/{method}")
    added.model_spec.name, added.model_spec.signature_name = name, signature


def test_multi_inference(call):
    def infer(request: Any) -> Any:
        return call(PREDICTION, "MultiInference", request, protos.inference.MultiInferenceResponse)

    request = protos.inference.MultiInferenceRequest()
    examples_input(request.input, IMAGE)
    task(request, "classify", "classify")
    (result,) = infer(request).results
    assert result.model_spec.version.value == VERSION
    assert len(result.classification_result.classifications[0].classes) == 3
    task(request, "regress", "regress")  # TensorFlow 2 gives each signature an input of its own
    refused(C.INVALID_ARGUMENT, "Input tensor must be the same for all Signatures.", lambda: infer(request))
    request.tasks[1].model_spec.signature_name = "classify"
    refused(C.INVALID_ARGUMENT, "Duplicate evaluation of signature: classify", lambda: infer(request))
    request.tasks[1].model_spec.name = "other"
    refused(C.INVALID_ARGUMENT, "must access the same model name", lambda: infer(request))
    del request.tasks[1]
    request.tasks[0].method_name = "tensorflow/serving/predict"
    refused(C.UNIMPLEMENTED, "Unsupported signature method_name", lambda: infer(request))


def metadata_request(*names: str, model: str = MODEL) -> Any:
    request = protos.get_model_metadata.GetModelMetadataRequest(metadata_field=names)
    request.model_spec.name = model
    return request


def test_model_metadata(call):
    def ask(request: Any) -> Any:
        return call(
            PREDICTION, "GetModelMetadata", request, protos.get_model_metadata.GetModelMetadataResponse
        )

    response = ask(metadata_request("signature_def"))
    assert (response.model_spec.name, response.model_spec.version.value) == (MODEL, VERSION)
    signatures = protos.get_model_metadata.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    default = signatures.signature_def["serving_default"]
    assert default.method_name == "tensorflow/serving/predict"
    assert default.inputs["image_bytes"].dtype == protos.types.DT_STRING
    assert [dim.size for dim in default.outputs["probabilities"].tensor_shape.dim] == [-1, 3]
    refused(C.INVALID_ARGUMENT, "must specify at least one metadata_field", lambda: ask(metadata_request()))
    refused(C.INVALID_ARGUMENT, "is not supported", lambda: ask(metadata_request("weights")))
    refused(C.NOT_FOUND, "Latest(x)", lambda: ask(metadata_request("signature_def", model="x")))
    nothing = protos.get_model_metadata.GetModelMetadataRequest()
    refused(C.INVALID_ARGUMENT, "Missing ModelSpec", lambda: ask(nothing))


def test_model_status(call):
    def ask(name: str, version: int | None = None) -> Any:
        request = protos.get_model_status.GetModelStatusRequest()
        request.model_spec.name = name
        if version is not None:
            request.model_spec.version.value = version
        return call(MODELS, "GetModelStatus", request, protos.get_model_status.GetModelStatusResponse)

    (status,) = ask(MODEL).model_version_status
    assert (status.version, status.state) == (VERSION, status.AVAILABLE)
    assert (status.status.error_code, status.status.error_message) == (0, "")
    assert len(ask(MODEL, VERSION).model_version_status) == 1
    refused(C.NOT_FOUND, f"Could not find version 3 of model {MODEL}", lambda: ask(MODEL, 3))
    refused(C.NOT_FOUND, "Could not find any versions of model x", lambda: ask("x"))


def test_reload_refuses_a_configuration_without_models(call):
    request = protos.model_management.ReloadConfigRequest()
    refused(
        C.INVALID_ARGUMENT,
        "Only ModelConfigList is currently supported",
        lambda: call(
            MODELS, "HandleReloadConfigRequest", request, protos.model_management.ReloadConfigResponse
        ),
    )


def test_unknown_methods_and_services(call):
    request, response = protos.predict.PredictRequest(), protos.predict.PredictResponse
    refused(C.UNIMPLEMENTED, "", lambda: call(PREDICTION, "Guess", request, response))
    refused(
        C.UNIMPLEMENTED,
        "",
        lambda: call("tensorflow.serving.SessionService", "SessionRun", request, response),
    )
