"""The protocol messages of TensorFlow Serving, without importing TensorFlow.

The generated modules `tensorflow_serving.apis.*_pb2` need those of `tensorflow.core`, and importing any of
these first runs all of `tensorflow/__init__`: six to eight seconds and half a gigabyte that a client has no
use for. A generated module itself needs nothing but protobuf, so it is run here from its file, in a namespace
of its own whose `import` leads to its siblings loaded in the same way. `sys.modules` is never touched: a real
`import tensorflow`, before, after, or at the same time in another thread, is not disturbed, and since
protobuf keeps one pool of descriptors a process, its messages are of the very same classes.

The messages are attributes of the loaded modules: `predict.PredictRequest`, `tensor.TensorProto`.
"""

import builtins
import importlib.machinery
import importlib.util
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

_ROOTS = ("tensorflow", "tensorflow_serving")
_loaded: dict[str, ModuleType] = {}
_lock = threading.RLock()


def _package_folder(package: str) -> Path:
    """Folder of an installed package, found without running it."""
    root, *inner = package.split(".")
    spec = importlib.util.find_spec(root)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f"package {root!r} is not installed here; install the packages of requirements.txt", name=root
        )
    return Path(next(iter(spec.submodule_search_locations)), *inner)


def _import(name: str, globals_: Any = None, locals_: Any = None, fromlist: Any = (), level: int = 0) -> Any:
    """`__import__` of a generated module: siblings come from `load`, everything else is Python's."""
    if level == 0 and name.split(".")[0] in _ROOTS:
        if fromlist and "*" in fromlist:  # `from x_pb2 import *`: what a public import of a proto file gives
            return load(name)
        return SimpleNamespace(**{child: load(f"{name}.{child}") for child in fromlist or ()})
    return builtins.__import__(name, globals_, locals_, fromlist or (), level)


def load(name: str) -> ModuleType:
    """One generated module by its full name, such as `tensorflow.core.framework.tensor_pb2`.

    Raises `ModuleNotFoundError` when there is no such file, or its package is not installed.
    """
    with _lock:
        if name in _loaded:
            return _loaded[name]
        package, _, stem = name.rpartition(".")
        path = _package_folder(package) / f"{stem}.py"
        if not path.is_file():
            raise ModuleNotFoundError(f"there is no {name} in the installed packages", name=name)
        module = ModuleType(name)
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _import}
        # The loader takes the bytecode that the installer left, which is faster than compiling.
        code = importlib.machinery.SourceFileLoader(name, str(path)).get_code(name)
        exec(code, module.__dict__)  # type: ignore[arg-type]
        _loaded[name] = module
        return module


example = load("tensorflow.core.example.example_pb2")
types = load("tensorflow.core.framework.types_pb2")
tensor = load("tensorflow.core.framework.tensor_pb2")
tensor_shape = load("tensorflow.core.framework.tensor_shape_pb2")
error_codes = load("tensorflow.core.protobuf.error_codes_pb2")
meta_graph = load("tensorflow.core.protobuf.meta_graph_pb2")
saved_model = load("tensorflow.core.protobuf.saved_model_pb2")

classification = load("tensorflow_serving.apis.classification_pb2")
get_model_metadata = load("tensorflow_serving.apis.get_model_metadata_pb2")
get_model_status = load("tensorflow_serving.apis.get_model_status_pb2")
inference = load("tensorflow_serving.apis.inference_pb2")
input = load("tensorflow_serving.apis.input_pb2")
model = load("tensorflow_serving.apis.model_pb2")
model_management = load("tensorflow_serving.apis.model_management_pb2")
predict = load("tensorflow_serving.apis.predict_pb2")
prediction_log = load("tensorflow_serving.apis.prediction_log_pb2")
regression = load("tensorflow_serving.apis.regression_pb2")
status = load("tensorflow_serving.apis.status_pb2")

model_server_config = load("tensorflow_serving.config.model_server_config_pb2")
path_source = load("tensorflow_serving.config.file_system_storage_path_source_pb2")
