"""The process that a local run happens in: `python -m pipeline.worker RUN_FOLDER`.

The command line starts in a tenth of a second and stays in charge of the screen and of Ctrl-C; this
process imports TFX, logs to the run's file, and appends what happens to the run's events. When the
process that started it is gone, however it went, this one and its children go too.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import sys
import threading
import traceback

from modules import progress
from modules.errors import InputError
from pipeline import search
from pipeline.config import Config
from pipeline.runs import RunFolder

EXIT_PUSHED = 0
EXIT_FAILED = 1
EXIT_INPUT = 2
EXIT_NOT_BLESSED = 3


def main(folder: RunFolder) -> int:
    """Runs what the folder's request says; the exit code tells how it ended."""
    events = folder.events.open("a", encoding="utf-8", buffering=1)

    def tell(event: str, **details: object) -> None:
        events.write(json.dumps({"event": event, **details}, ensure_ascii=False) + "\n")

    os.environ[progress.VARIABLE] = str(folder.events)
    request = folder.read(folder.request)
    current = "start"
    try:
        config = Config.model_validate(request["config"])
        tell("importing", pid=os.getpid())
        # Seven seconds of imports, so only here, where nobody waits for a prompt.
        from pipeline import launch, lineage, local

        _check_network(config)

        def on_start(node_id: str) -> None:
            nonlocal current
            current = node_id
            tell("started", node=node_id)

        def on_finish(result: launch.NodeResult) -> None:
            tell("finished", node=result.node_id, seconds=result.seconds, cached=result.cached)

        if request.get("like_kubeflow"):
            from pipeline import kubeflow_local

            prepared = kubeflow_local.prepare(config, folder, request["cache"])
            tell("compiled", nodes=prepared.node_ids)
            connection = prepared.connection
            nodes = kubeflow_local.run(prepared, on_start, on_finish)
        else:
            ir = local.compile_local(config, folder.workdir, request["cache"])
            if request.get("to"):
                local.keep_up_to(ir, request["to"])
            tell("compiled", nodes=[node.pipeline_node.node_info.id for node in ir.nodes])
            connection = local.connection_config(folder.workdir)
            nodes = local.LocalRunner(folder.run_id, connection, on_start, on_finish).run_with_ir(ir)
        current = "summary"
        summary = lineage.summarize(folder.run_id, nodes, lineage.Lineage(connection, nodes))
        folder.write(folder.result, {"exit_code": _exit_code(summary), **summary})
        return _exit_code(summary)
    except InputError as error:
        return _fail(folder, getattr(error, "node_id", current), str(error), EXIT_INPUT)
    except Exception as error:
        traceback.print_exc()
        return _fail(folder, getattr(error, "node_id", current), _one_line(error), EXIT_FAILED)


def _check_network(config: Config) -> None:
    """Refuses a network that cannot take images of the size now, not after the ingest."""
    from modules import classifier

    for remark, model in search.networks(config):
        try:
            classifier.build_network(model, config.data.pixels, classes=2)
        except ValueError as error:
            raise InputError(f"{remark}{error}") from error


def _exit_code(summary: dict[str, object]) -> int:
    return EXIT_PUSHED if "up_to" in summary or summary["pushed_version"] else EXIT_NOT_BLESSED


def _fail(folder: RunFolder, node: str, message: str, code: int) -> int:
    folder.write(
        folder.result, {"run_id": folder.run_id, "exit_code": code, "failed_node": node, "error": message}
    )
    return code


def _one_line(error: Exception) -> str:
    """The message of an exception without Beam's and TensorFlow's appended traces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    # TensorFlow puts "in user code:" first and the message last.
    return lines[-1] if lines[0].endswith(":") else lines[0]


def _end_with_parent() -> None:
    """Ends this process and its children once the other end of standard input is closed."""

    def watch() -> None:
        sys.stdin.buffer.read()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()


if __name__ == "__main__":
    _end_with_parent()
    code = main(RunFolder(pathlib.Path(sys.argv[1])))
    sys.stdout.flush()
    sys.stderr.flush()
    # Beam and gRPC leave threads behind whose shutdown takes seconds; everything is written already.
    os._exit(code)
