"""One of several processes that run trials of one search; the Tuner of the run is their chief.

KerasTuner's environment says who is who. The chief hands out values and runs no trial itself::

    KERASTUNER_TUNER_ID=chief KERASTUNER_ORACLE_IP=10.0.0.1 KERASTUNER_ORACLE_PORT=8000 imagemill run ...

and each worker, with an ID of its own, waits for it::

    KERASTUNER_TUNER_ID=one KERASTUNER_ORACLE_IP=10.0.0.1 KERASTUNER_ORACLE_PORT=8000 \\
        python -m modules.tuning.worker ROOT/Tuner

All need the same files, so the pipeline root is shared.
"""

from __future__ import annotations

import argparse
import os
import sys

from modules.errors import InputError


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser("python -m modules.tuning.worker", description=__doc__.split("\n\n")[0])
    parser.add_argument("directory", help="folder of the Tuner below the pipeline root")
    parser.add_argument("--wait", type=float, default=3600, help="seconds to wait for the chief")
    options = parser.parse_args(arguments)
    missing = [
        name
        for name in ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
        if not os.environ.get(name)
    ]
    if missing or "chief" in os.environ["KERASTUNER_TUNER_ID"]:
        sys.exit(f"worker: set {', '.join(missing) or 'KERASTUNER_TUNER_ID, to an ID without chief in it'}.")

    from modules import worker
    from modules.tuning.tuner import tuner_fn

    try:
        tuner_fn(worker.wait_for_orders(options.directory, options.wait)).tuner.search()
    except InputError as error:
        sys.exit(f"worker: {error}")


if __name__ == "__main__":
    main()
