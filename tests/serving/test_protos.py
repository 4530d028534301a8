"""The messages come without TensorFlow, and get along with it in the same process."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_client_is_importable_in_under_a_second_and_without_tensorflow():
    program = (
        "import sys, time; start = time.process_time(); import serving.client; "
        "print(time.process_time() - start, any(m.split('.')[0] == 'tensorflow' for m in sys.modules))"
    )
    run(program)  # the first run may have to write bytecode
    seconds, imported = run(program).split()
    assert imported == "False"
    assert float(seconds) < 1.0  # of the processor: others may keep it busy


TENSORFLOW = "import tensorflow as tf\nfrom tensorflow_serving.apis import predict_pb2\n"
INTEROPERATE = """
request = protos.predict.PredictRequest()
request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0, 2.0]))
again = predict_pb2.PredictRequest.FromString(request.SerializeToString())
same = predict_pb2.PredictRequest is protos.predict.PredictRequest
print(tf.make_ndarray(again.inputs["x"]).tolist(), same)
"""


@pytest.mark.parametrize(
    "imports",
    [
        "from serving import protos\n" + TENSORFLOW,
        TENSORFLOW + "from serving import protos",
        # At the same time, from two threads: neither may see a half-made module of the other.
        "import threading\n"
        "thread = threading.Thread(target=__import__, args=('tensorflow',)); thread.start()\n"
        "from serving import protos\nthread.join()\n" + TENSORFLOW,
    ],
    ids=["before", "after", "at-the-same-time"],
)
def test_messages_interoperate_with_a_real_tensorflow(imports: str):
    assert run(imports + INTEROPERATE) == "[1.0, 2.0] True"


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(ModuleNotFoundError, match="nothing_pb2"):
        from serving import protos

        protos.load("tensorflow_serving.apis.nothing_pb2")
