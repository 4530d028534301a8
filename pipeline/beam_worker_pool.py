"""The side-car of a Flink task manager, workers for Beam: `python -m pipeline.beam_worker_pool PORT`.

Beam's own pool starts its workers as processes that import nothing first, and TFDV cannot be imported before
tfx. Here they are threads of this process, which has imported tfx; what takes time in them, decoding and
statistics, is native code that lets other threads run.
"""

from __future__ import annotations

import signal
import sys
import threading

# First of all, see above.
import tfx  # noqa: F401
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer


def main(port: int) -> None:
    """Serves until SIGTERM."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.set())
    address, server = BeamFnExternalWorkerPoolServicer.start(use_process=False, port=port)
    print(f"Listening for workers at {address}.", flush=True)
    stopped.wait()
    server.stop(grace=20).wait()


if __name__ == "__main__":
    main(int(sys.argv[1]))
