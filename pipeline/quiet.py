"""Keeps TensorFlow's greeting off the screen of a person, and lets everything else through."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator

# What the C++ side prints at import and at its first session, whatever TF_CPP_MIN_LOG_LEVEL says.
_GREETING = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog"
    rb"|[IWE]0000 .*(port\.cc|cudart_stub\.cc|cpu_feature_guard\.cc|cuda_platform\.cc|mlir_graph_opt)"
    rb"|E0000 .*oneDNN supports DT_UINT8|E\d{4} .*add_port\.cc"
    rb"|To enable the following instructions"
    rb"|WARNING: From .* is deprecated and will be removed"
    rb"|Instructions for updating:"
    rb"|Use `tf\."
)


@contextlib.contextmanager
def without_greeting() -> Iterator[None]:
    """Passes file descriptor 2 through a filter, so that what native code prints is filtered too."""
    screen = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)

    def copy() -> None:
        with open(reading, "rb") as lines:
            for line in lines:
                if not _GREETING.match(line):
                    os.write(screen, line)

    thread = threading.Thread(target=copy, name="filter-stderr", daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.dup2(screen, 2)  # closes the last writing end, so the thread sees the end
        thread.join(timeout=5)
        os.close(screen)
