"""Random requests: the server stays up, answers with the right kind of code, and its memory stays flat."""

import http.client
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving import protos
from serving.client import Classifier
from serving.grpc_face import UNPARSED
from serving.local import LocalServer
from tests.serving.samples import COLOURS, MODEL, encoded

SEED = 20_240
#: Of each kind; together over twenty thousand requests.
ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "3000"))
METHODS = {
    "PredictionService/Predict": protos.predict.PredictRequest,
    "PredictionService/Classify": protos.classification.ClassificationRequest,
    "PredictionService/Regress": protos.regression.RegressionRequest,
    "PredictionService/MultiInference": protos.inference.MultiInferenceRequest,
    "PredictionService/GetModelMetadata": protos.get_model_metadata.GetModelMetadataRequest,
    "ModelService/GetModelStatus": protos.get_model_status.GetModelStatusRequest,
}
#: What a wrong request may be answered with; INTERNAL and UNKNOWN would be faults of the server.
BLAMES_THE_CLIENT = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
IMAGES = [encoded(COLOURS["red"]), encoded(COLOURS["blue"], "JPEG"), encoded(COLOURS["green"], "GIF")]


def mutated(chance: random.Random, data: bytes) -> bytes:
    """The data with bytes changed, cut out, repeated or put in."""
    result = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        position = chance.randrange(len(result) + 1)
        match chance.randrange(4):
            case 0:
                result[position : position + 1] = bytes([chance.randrange(256)])
            case 1:
                del result[position : position + chance.randint(1, 40)]
            case 2:
                result[position:position] = result[position : position + chance.randint(1, 40)]
            case 3:
                result[position:position] = chance.randbytes(chance.randint(1, 20))
    return bytes(result)


def random_tensor(chance: random.Random, tensor: Any) -> None:
    tensor.dtype = chance.choice([0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 8, 9, 10, 14, 17, 19, 20, 22, 23, 101])
    for _ in range(chance.choice([0, 1, 1, 1, 2, 70])):
        tensor.tensor_shape.dim.add().size = chance.choice([1, 1, 2, 3, 0, -1, 10**6, 2**62])
    tensor.tensor_shape.unknown_rank = chance.random() < 0.05
    tensor.string_val.extend(mutated(chance, chance.choice(IMAGES)) for _ in range(chance.randint(0, 3)))
    tensor.float_val.extend(
        chance.choice([0.0, -1.5, 3e38, float("nan")]) for _ in range(chance.randint(0, 3))
    )
    tensor.int64_val.extend(chance.randint(-(2**63), 2**63 - 1) for _ in range(chance.randint(0, 2)))
    if chance.random() < 0.2:
        tensor.tensor_content = chance.randbytes(chance.randint(1, 64))


def random_predict(chance: random.Random) -> bytes:
    request = protos.predict.PredictRequest()
    request.model_spec.name = chance.choice([MODEL, MODEL, MODEL, "", "other", "\x00"])
    request.model_spec.signature_name = chance.choice(["", "serving_examples", "arithmetic", "mean", "no"])
    if chance.random() < 0.1:
        request.model_spec.version.value = chance.choice([7, 0, -1, 2**63 - 1])
    for name in chance.sample(["image_bytes", "examples", "x", "y", ""], chance.randint(0, 2)):
        random_tensor(chance, request.inputs[name])
    request.output_filter.extend(chance.sample(["label", "total", "no"], chance.choice([0, 0, 1, 2])))
    return request.SerializeToString()


def random_message(chance: random.Random, method: str) -> bytes:
    if method == "PredictionService/Predict" and chance.random() < 0.8:
        return random_predict(chance)
    request = METHODS[method]()
    if hasattr(request, "model_spec"):
        request.model_spec.name = MODEL
        request.model_spec.signature_name = chance.choice(["", "classify", "regress", "no"])
    if hasattr(request, "input"):
        for _ in range(chance.randint(0, 3)):
            feature = request.input.example_list.examples.add().features.feature["image/encoded"]
            feature.bytes_list.value.append(mutated(chance, chance.choice(IMAGES)))
    data = request.SerializeToString()
    return mutated(chance, data) if chance.random() < 0.5 else data


def random_json(chance: random.Random, depth: int = 0) -> Any:
    kinds = ["number", "string", "b64", "null", "bool"] + (["list", "object"] * 2 if depth < 5 else [])
    match chance.choice(kinds):
        case "number":
            return chance.choice([0, 1, -7, 1.5, 1e300, 2**70, float("nan"), float("inf")])
        case "string":
            return chance.choice(["", "text", "ä", "\ud800", "x" * 2000])
        case "b64":
            return {"b64": chance.choice(["", "AAAA", "*", "iVBORw0KGgo="])}
        case "list":
            return [random_json(chance, depth + 1) for _ in range(chance.randint(0, 3))]
        case "object":
            keys = ["instances", "inputs", "examples", "context", "signature_name", "image_bytes", "x", "y"]
            return {chance.choice(keys): random_json(chance, depth + 1) for _ in range(chance.randint(0, 3))}
        case "bool":
            return chance.random() < 0.5
    return None


def random_body(chance: random.Random) -> bytes:
    body: dict[str, Any] = {chance.choice(["instances", "inputs", "examples"]): random_json(chance)}
    if chance.random() < 0.5:
        body["signature_name"] = chance.choice(["arithmetic", "mean", "classify", "regress", "no", 3])
    data = json.dumps(body).encode(errors="surrogatepass")
    if chance.random() < 0.02:
        return b"[" * 100_000
    return mutated(chance, data) if chance.random() < 0.3 else data


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module")
def warm(server: LocalServer) -> LocalServer:
    """The server after requests of every kind, when its memory has taken its size."""
    chance = random.Random(SEED - 1)
    ask_grpc(server, chance, ROUNDS // 8)
    ask_rest(server, chance, ROUNDS // 8)
    return server


def ask_grpc(server: LocalServer, chance: random.Random, count: int) -> Counter[grpc.StatusCode]:
    codes: Counter[grpc.StatusCode] = Counter()
    with grpc.insecure_channel(server.address) as channel:
        for _ in range(count):
            method = chance.choice(list(METHODS))
            call = channel.unary_unary(f"/tensorflow.serving.{method}")
            _, answer = call_code(call, random_message(chance, method))
            codes[answer] += 1
    return codes


def call_code(call: Any, data: bytes) -> tuple[Any, grpc.StatusCode]:
    try:
        answer, info = call.with_call(data, timeout=30)
    except grpc.RpcError as error:
        # The one INTERNAL that is right: so C++ servers answer bytes that do not parse as a message.
        is_unparsed = error.details().startswith(UNPARSED)
        return None, grpc.StatusCode.INVALID_ARGUMENT if is_unparsed else error.code()
    return answer, info.code()


def ask_rest(server: LocalServer, chance: random.Random, count: int) -> Counter[int]:
    codes: Counter[int] = Counter()
    connection = http.client.HTTPConnection(server.rest_address, timeout=30)
    for _ in range(count):
        verb = chance.choice(["predict", "classify", "regress"])
        headers = {"Content-Encoding": "gzip"} if chance.random() < 0.05 else {}
        connection.request("POST", f"/v1/models/{MODEL}:{verb}", random_body(chance), headers)
        response = connection.getresponse()
        json.loads(response.read())
        codes[response.status] += 1
    connection.close()
    return codes


def test_random_messages(warm: LocalServer):
    codes = ask_grpc(warm, random.Random(SEED), ROUNDS * 3)
    assert set(codes) <= BLAMES_THE_CLIENT, codes
    assert len(codes) >= 4, codes


def test_random_json(warm: LocalServer):
    codes = ask_rest(warm, random.Random(SEED + 1), ROUNDS)
    assert set(codes) <= {200, 400, 404, 501}, codes
    assert codes[200] and codes[400], codes


def test_random_images(warm: LocalServer):
    chance = random.Random(SEED + 2)
    images = [mutated(chance, chance.choice(IMAGES)) for _ in range(ROUNDS)]
    images[::10] = IMAGES[:1] * len(images[::10])
    with Classifier(warm.address, MODEL) as classifier:
        results = list(classifier.classify_many(images, batch_size=8))
    assert len(results) == len(images)
    assert all(result.error is None for result in results[::10])
    assert any(result.error for result in results)


def test_memory_stays_flat(warm: LocalServer):
    chance = random.Random(SEED + 3)
    ask_grpc(warm, chance, ROUNDS)
    before = resident_bytes(warm.pid)
    ask_grpc(warm, chance, ROUNDS)
    ask_rest(warm, chance, ROUNDS)
    assert resident_bytes(warm.pid) - before < 32 << 20
    with Classifier(warm.address, MODEL) as classifier:
        assert classifier.classify(COLOURS["blue"]).label == "blue"
