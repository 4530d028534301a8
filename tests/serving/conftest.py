"""One exported model and one server process, shared by all tests of this folder."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.client import Classifier
from serving.local import LocalServer
from tests.serving import tiny_model
from tests.serving.tiny_model import MODEL, VERSION


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel folder, to be copied into version folders and never changed."""
    path = tmp_path_factory.mktemp("exported") / "model"
    tiny_model.export(path)
    return path


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network with other class names, so that a test sees which version answers."""
    path = tmp_path_factory.mktemp("exported") / "other"
    tiny_model.export(path, ("crimson", "lime", "navy"))
    return path


@pytest.fixture(scope="session")
def base_path(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / MODEL
    shutil.copytree(saved_model, path / str(VERSION))
    return path


@pytest.fixture(scope="session")
def server(base_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """The model under a label, over gRPC, REST and a socket, with bounds low enough to be reached."""
    folder = tmp_path_factory.mktemp("config")
    tiny_model.write_config(base_path, folder / "models.config")
    flags = [
        f"--model_config_file={folder / 'models.config'}",
        "--allow_version_labels_for_unavailable_models=true",
        f"--grpc_socket_path={folder / 'grpc.sock'}",
        "--max_request_bytes=4000000",
        "--max_image_pixels=1000000",
    ]
    with LocalServer(base_path, MODEL, rest_api_port=0, flags=flags) as running:
        yield running


@pytest.fixture
def classifier(server: LocalServer) -> Iterator[Classifier]:
    with Classifier(server.address, MODEL) as client:
        yield client


@pytest.fixture
def push() -> Callable[[Path, Path], None]:
    """Copies a SavedModel as TFX's Pusher does: not atomically, `saved_model.pb` last."""

    def copy(source: Path, target: Path) -> None:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("saved_model.pb"), dirs_exist_ok=True)
        shutil.copy(source / "saved_model.pb", target / "saved_model.pb")

    return copy
