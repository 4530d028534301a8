"""What TensorFlow Serving answers over REST.

Runs against the server of this repository, or against any other that serves the model which
`python -m tests.serving.tiny_model DIR` writes: set SERVING_REST_ADDRESS to its `host:port`.
"""

import base64
import gzip
import http.client
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.serving.samples import COLOURS, encoded
from tests.serving.tiny_model import CLASSES, LABEL, MODEL, VERSION

BASE = f"/v1/models/{MODEL}"
IMAGE = {"b64": base64.b64encode(encoded(COLOURS["green"])).decode()}
Answer = tuple[int, Any, dict[str, str]]


@pytest.fixture(scope="module")
def connection(request: pytest.FixtureRequest) -> Iterator[http.client.HTTPConnection]:
    address = os.environ.get("SERVING_REST_ADDRESS") or request.getfixturevalue("server").rest_address
    opened = http.client.HTTPConnection(address, timeout=20)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def ask(connection: http.client.HTTPConnection) -> Callable[..., Answer]:
    def send(method: str, path: str, body: Any = None, **headers: str) -> Answer:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, data, {name.replace("_", "-"): v for name, v in headers.items()})
        response = connection.getresponse()
        raw = response.read()
        if response.headers.get("Content-Encoding") == "gzip":
            raw = gzip.decompress(raw)
        return response.status, json.loads(raw) if raw else None, dict(response.headers)

    return send


def test_status(ask):
    entry = {
        "version": str(VERSION),
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    for path in (BASE, f"{BASE}/versions/{VERSION}"):
        status, answer, headers = ask("GET", path)
        assert status == 200
        assert answer == {"model_version_status": [entry]}
        assert headers["Content-Type"] == "application/json"


def test_metadata_prints_the_packed_signatures_in_place(ask):
    status, answer, _ = ask("GET", f"{BASE}/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": MODEL, "signature_name": "", "version": str(VERSION)}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    given = signature["inputs"]["image_bytes"]
    assert given["dtype"] == "DT_STRING"
    assert given["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]
    assert given["tensor_shape"]["unknown_rank"] is False


@pytest.mark.parametrize("suffix", ["", f"/versions/{VERSION}", f"/labels/{LABEL}"])
def test_predict_in_rows(ask, suffix: str):
    status, answer, _ = ask(
        "POST", f"{BASE}{suffix}:predict", {"instances": [IMAGE, {"image_bytes": IMAGE}][:1]}
    )
    assert status == 200
    (row,) = answer["predictions"]
    assert row["label"] == "green"
    assert len(row["probabilities"]) == 3 and max(row["probabilities"]) == row["confidence"]


def test_predict_in_rows_by_name(ask):
    _, answer, _ = ask(
        "POST", f"{BASE}:predict", {"instances": [{"image_bytes": IMAGE}, {"image_bytes": IMAGE}]}
    )
    assert [row["label"] for row in answer["predictions"]] == ["green", "green"]


def test_predict_in_columns(ask):
    for inputs in ([IMAGE, IMAGE], {"image_bytes": [IMAGE, IMAGE]}):
        status, answer, _ = ask("POST", f"{BASE}:predict", {"inputs": inputs})
        assert status == 200
        assert answer["outputs"]["label"] == ["green", "green"]
        assert [len(row) for row in answer["outputs"]["probabilities"]] == [3, 3]


def test_numbers_and_bytes(ask):
    body = {"signature_name": "arithmetic", "instances": [{"x": [0.1, 2], "y": 3}, {"x": [1, 1], "y": -1}]}
    status, answer, _ = ask("POST", f"{BASE}:predict", body)
    assert status == 200
    first, second = answer["predictions"]
    assert first == {"total": [3.1, 5.0], "text": "3", "text_bytes": {"b64": "Mw=="}}  # no noise digits
    assert second["total"] == [0.0, 0.0]
    columns = {"signature_name": "arithmetic", "inputs": {"x": [[1, 2]], "y": [1]}}
    assert ask("POST", f"{BASE}:predict", columns)[1]["outputs"]["total"] == [[2.0, 3.0]]


def test_not_a_number_is_printed_as_the_real_server_does(ask, connection):
    body = b'{"signature_name": "mean", "inputs": [NaN, 1.0]}'
    connection.request("POST", f"{BASE}:predict", body)
    assert b"NaN" in connection.getresponse().read()


def test_a_scalar_output_has_no_rows(ask):
    assert ask("POST", f"{BASE}:predict", {"signature_name": "mean", "inputs": [1, 2, 6]})[1] == {
        "outputs": 3.0
    }
    status, answer, _ = ask("POST", f"{BASE}:predict", {"signature_name": "mean", "instances": [1, 2, 6]})
    assert status == 400 and "has no shape information" in answer["error"]


def test_classify_and_regress(ask):
    body = {"signature_name": "classify", "examples": [{"image/encoded": IMAGE}, {"image/encoded": [IMAGE]}]}
    status, answer, _ = ask("POST", f"{BASE}:classify", body)
    assert status == 200
    assert [label for label, _ in answer["results"][0]] == list(CLASSES)
    assert len(answer["results"]) == 2
    body = {"signature_name": "regress", "context": {"image/encoded": IMAGE}, "examples": [{}, {}]}
    status, answer, _ = ask("POST", f"{BASE}:regress", body)
    assert status == 200
    assert len(answer["results"]) == 2 and answer["results"][0] > 0.9


def test_gzip_both_ways(ask):
    body = gzip.compress(json.dumps({"instances": [IMAGE] * 40}).encode())
    status, answer, headers = ask(
        "POST", f"{BASE}:predict", body, Content_Encoding="gzip", Accept_Encoding="gzip"
    )
    assert status == 200 and len(answer["predictions"]) == 40
    assert headers["Content-Encoding"] == "gzip"


def predict(body: Any, path: str = f"{BASE}:predict") -> tuple[str, str, Any]:
    return "POST", path, body


WRONG: dict[str, tuple[tuple, int, str]] = {
    "empty body": (predict(b""), 400, "JSON Parse error: The document is empty"),
    "no JSON": (predict(b"{nope"), 400, "JSON Parse error"),
    "no object": (predict([1]), 400, "Is not object"),
    "no key": (predict({}), 400, "Missing 'inputs' or 'instances' key"),
    "both keys": (predict({"inputs": [IMAGE], "instances": [IMAGE]}), 400, "expecting only one of"),
    "instances no list": (predict({"instances": IMAGE}), 400, "Excepting 'instances' to be an list/array"),
    "instances empty": (predict({"instances": []}), 400, "No values in 'instances' array"),
    "signature no string": (
        predict({"signature_name": 1, "instances": [IMAGE]}),
        400,
        "'signature_name' key must be a string value.",
    ),
    "unknown signature": (
        predict({"signature_name": "nope", "instances": [IMAGE]}),
        400,
        'Serving signature name: "nope" not found in signature def',
    ),
    "unknown input": (
        predict({"instances": [{"pixels": IMAGE}]}),
        400,
        "JSON object: does not have named input: pixels",
    ),
    "missing input": (
        predict({"signature_name": "arithmetic", "inputs": {"x": [[1, 2]]}}),
        400,
        "Missing named input: y in 'inputs' object.",
    ),
    "missing key in a row": (
        predict({"signature_name": "arithmetic", "instances": [{"x": [1, 2]}]}),
        400,
        "must only have keys: x,y",
    ),
    "plain list for two inputs": (
        predict({"signature_name": "arithmetic", "instances": [1]}),
        400,
        "instances is a plain list, but expecting list of objects",
    ),
    "mixed rows": (predict({"instances": [IMAGE, {"x": IMAGE}]}), 400, "Expecting value/list but got object"),
    "wrong type": (predict({"instances": [3]}), 400, "Type: Number is not of expected type: string"),
    "float for int": (
        predict({"signature_name": "arithmetic", "instances": [{"x": [1, 2], "y": 1.5}]}),
        400,
        "is not of expected type: int64",
    ),
    "lossy": (
        predict({"signature_name": "mean", "inputs": [16777217]}),
        400,
        "to float without loss of precision",
    ),
    "ragged": (
        predict({"signature_name": "arithmetic", "instances": [{"x": [1, 2], "y": 1}, {"x": [1], "y": 1}]}),
        400,
        "Expecting tensor size: 2 but got: 1",
    ),
    "uneven": (
        predict({"signature_name": "mean", "inputs": [[1, 2], [3]]}),
        400,
        "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    ),
    "bad base64": (predict({"instances": [{"b64": "*"}]}), 400, "Unable to base64 decode"),
    "no base64": (
        predict({"inputs": {"image_bytes": [{"b65": "x"}]}}),
        400,
        "not formatted correctly for base64",
    ),
    "no image": (predict({"instances": ["text"]}), 400, ""),
    "unknown model": (
        predict({"instances": [IMAGE]}, "/v1/models/x:predict"),
        404,
        "Servable not found for request: Latest(x)",
    ),
    "unknown version": (
        predict({"instances": [IMAGE]}, f"{BASE}/versions/3:predict"),
        404,
        f"Servable not found for request: Specific({MODEL}, 3)",
    ),
    "unknown label": (
        predict({"instances": [IMAGE]}, f"{BASE}/labels/no:predict"),
        400,
        "Unrecognized servable version label: no",
    ),
    "huge version": (
        predict({"instances": [IMAGE]}, f"{BASE}/versions/99999999999999999999:predict"),
        400,
        "Failed to convert version: 99999999999999999999 to numeric.",
    ),
    "unknown method": (predict({}, f"{BASE}:guess"), 400, f"Malformed request: POST {BASE}:guess"),
    "get predict": (("GET", f"{BASE}:predict"), 400, f"Malformed request: GET {BASE}:predict"),
    "delete": (("DELETE", BASE), 400, f"Malformed request: DELETE {BASE}"),
    "status of no model": (("GET", "/v1/models"), 400, "Missing model name in request."),
    "status of an unknown model": (("GET", "/v1/models/x"), 404, "Could not find any versions of model x"),
    "status of an unknown version": (
        ("GET", f"{BASE}/versions/3"),
        404,
        f"Could not find version 3 of model {MODEL}",
    ),
    "metadata of an unknown model": (("GET", "/v1/models/x/metadata"), 404, "Latest(x)"),
    "classify without examples": (
        ("POST", f"{BASE}:classify", {"signature_name": "classify"}),
        400,
        "key 'examples' is expected and was not found",
    ),
    "classify with no example": (
        ("POST", f"{BASE}:classify", {"signature_name": "classify", "examples": []}),
        400,
        "'examples' value is an empty array",
    ),
    "an example that is none": (
        ("POST", f"{BASE}:classify", {"signature_name": "classify", "examples": [1]}),
        400,
        "Example must be JSON object but got JSON Number",
    ),
    "a feature of two types": (
        ("POST", f"{BASE}:classify", {"signature_name": "classify", "examples": [{"f": [1, "a"]}]}),
        400,
        "Unexpected element type in feature: f",
    ),
    "regress by a classify signature": (
        ("POST", f"{BASE}:regress", {"signature_name": "classify", "examples": [{}]}),
        400,
        "Expected one output Tensor.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_requests(ask, case: str):
    request, code, part = WRONG[case]
    status, answer, headers = ask(*request)
    assert (status, part in answer["error"]) == (code, True), answer
    assert headers["Content-Type"] == "application/json"


def test_paths_outside_the_api_are_not_found(connection):
    connection.request("GET", "/")
    response = connection.getresponse()
    response.read()
    assert response.status == 404
