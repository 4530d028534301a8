"""One of several machines that train together: what every worker but the first one runs.

The first worker is the Trainer of a run whose configuration says `train.devices: workers`. When it starts
it writes what is to be trained beside its artifacts; the others wait for that, train their part of every
batch, and end with it. All need the same files, so the pipeline root is shared, and each its own TF_CONFIG::

    TF_CONFIG='{"cluster": {"worker": ["one:2222", "two:2222"]}, "task": {"type": "worker", "index": 1}}' \\
        python -m modules.worker ROOT/Trainer
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator

import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from modules.errors import InputError

_ORDERS = "workers.json"
_PASSED_ON = (
    "train_files",
    "eval_files",
    "transform_graph_path",
    "serving_model_dir",
    "model_run_dir",
    "working_dir",
    "hyperparameters",
    "custom_config",
)


@contextlib.contextmanager
def orders(directory: str, fn_args: FnArgs) -> Iterator[None]:
    """Tells the other workers what is trained, for as long as it is.

    Args:
      directory: of the Trainer, below the pipeline root.
      fn_args: of the first worker.
    """
    tf.io.gfile.makedirs(directory)
    text = json.dumps({name: getattr(fn_args, name) for name in _PASSED_ON})
    with tf.io.gfile.GFile(f"{directory}/{_ORDERS}.new", "w") as file:
        file.write(text)
    tf.io.gfile.rename(f"{directory}/{_ORDERS}.new", f"{directory}/{_ORDERS}", overwrite=True)
    try:
        yield
    finally:
        tf.io.gfile.remove(f"{directory}/{_ORDERS}")


def wait_for_orders(directory: str, seconds: float) -> FnArgs:
    """What the first worker published.

    Raises:
      InputError: when nothing came in that time.
    """
    deadline = time.monotonic() + seconds
    while not tf.io.gfile.exists(f"{directory}/{_ORDERS}"):
        if time.monotonic() > deadline:
            raise InputError(
                f"No training began in {directory} within {seconds:.0f} s. Is the first worker running, with "
                "train.devices: workers, and is this its pipeline root?"
            )
        time.sleep(0.2)
    with tf.io.gfile.GFile(f"{directory}/{_ORDERS}") as file:
        return FnArgs(**json.loads(file.read()))


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    from modules import training

    parser = argparse.ArgumentParser("python -m modules.worker", description=__doc__.split("\n\n")[0])
    parser.add_argument("directory", help="folder of the Trainer below the pipeline root")
    parser.add_argument("--wait", type=float, default=3600, help="seconds to wait for the first worker")
    options = parser.parse_args(arguments)
    try:
        training.run_fn(wait_for_orders(options.directory, options.wait))
    except InputError as error:
        sys.exit(f"worker: {error}")


if __name__ == "__main__":
    main()
