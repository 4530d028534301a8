"""The container image, really built: `make image-test`, outside `make test` for the time and disk it takes.

Needs root, buildah, and either a registry that has Debian or debootstrap, which makes the base from Debian's
packages. Neither Docker nor a daemon.
"""

from __future__ import annotations

import configparser
import json
import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from pipeline import kubeflow, kubeflow_local, runs
from tests.conftest import TINY, write_colours

pytestmark = [pytest.mark.image, pytest.mark.timeout(5400)]

ROOT = pathlib.Path(__file__).parent.parent
IMAGE = "localhost/imagemill-test"
USER = 10001

Run = Callable[..., subprocess.CompletedProcess[str]]


def _buildah(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        pytest.fail(
            f"buildah {' '.join(arguments)}: {done.stdout[-3000:]}{done.stderr[-3000:]}", pytrace=False
        )
    return done


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Builds the image from this checkout."""
    if os.geteuid() != 0 or not shutil.which("buildah"):
        pytest.fail("building the image here needs root and buildah (apt-get install buildah)", pytrace=False)
    _buildah(
        "bud",
        "--layers",
        "--isolation=chroot",
        "--network=host",
        f"--build-arg=BASE={_base(tmp_path_factory.mktemp('base'))}",
        f"--tag={IMAGE}",
        str(ROOT),
    )
    return IMAGE


def _base(folder: pathlib.Path) -> str:
    """Debian from a registry, else from its packages; with this machine's certificates and pip settings."""
    name = f"{IMAGE}-base"
    if _buildah("images", "--quiet", name, check=False).stdout.strip():
        return name  # of an earlier test, whose layers are then there too
    pulled = _buildah("pull", "docker.io/library/debian:bookworm-slim", check=False)
    if pulled.returncode == 0:
        container = _buildah("from", "docker.io/library/debian:bookworm-slim").stdout.strip()
    else:
        if not shutil.which("debootstrap"):
            pytest.fail(
                "no registry answers, and debootstrap is missing (apt-get install debootstrap)", pytrace=False
            )
        root = folder / "root"
        subprocess.run(
            ["debootstrap", "--variant=minbase", "bookworm", str(root)], check=True, capture_output=True
        )
        container = _buildah("from", "scratch").stdout.strip()
        _buildah("add", container, str(root), "/")
    # pip inside trusts whom pip here trusts; under a name that no package of Debian writes to.
    settings = configparser.ConfigParser()
    settings.read("/etc/pip.conf")
    certificates = settings.get("global", "cert", fallback="/etc/ssl/certs/ca-certificates.crt")
    if pathlib.Path(certificates).exists():
        settings.read_dict({"global": {"cert": "/etc/pip-certificates.crt"}})
        _buildah("copy", container, certificates, "/etc/pip-certificates.crt")
    with (folder / "pip.conf").open("w", encoding="utf-8") as file:
        settings.write(file)
    _buildah("copy", container, str(folder / "pip.conf"), "/etc/pip.conf")
    _buildah("commit", "--rm", container, name)
    return name


@pytest.fixture(scope="module")
def run(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs a command in a container as the image's own user; `/work` is a folder shared with the test."""
    shared = tmp_path_factory.mktemp("shared")
    write_colours(shared / "photos")
    (shared / "config.yaml").write_text(TINY.format(data="photos"), encoding="utf-8")
    for path in [shared, *shared.rglob("*")]:
        os.chown(path, USER, USER)
    # The way there is pytest's, which only root may go; the folder is bound to a place in the container.
    container = _buildah("from", image).stdout.strip()

    def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        settings = [f"--env={key}={value}" for key, value in environment.items()]
        options = ["--isolation=chroot", "--network=host", f"--volume={shared}:/work:rw", *settings]
        return _buildah("run", *options, container, "--", *command, check=False)

    run.shared = shared
    yield run
    _buildah("rm", container)


def test_the_image_is_small_enough_labelled_and_no_root(image: str, run: Run) -> None:
    about = json.loads(_buildah("inspect", "--type=image", image).stdout)
    config = about["OCIv1"]["config"]
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == ["imagemill"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    (listed,) = json.loads(_buildah("images", "--json", image).stdout)
    print("size", listed["size"], "layers", len(about["OCIv1"]["rootfs"]["diff_ids"]))
    assert _bytes(listed["size"]) < 4e9
    whoami = run("python", "-c", "import os; print(os.getuid(), os.getgid())")
    assert whoami.stdout.split() == [str(USER), str(USER)], whoami.stderr
    assert run("sh", "-c", "command -v gcc g++ cc").returncode != 0
    assert run("sh", "-c", "touch /opt/imagemill/x").returncode != 0


def _bytes(size: str) -> float:
    number, unit = size.split()
    return float(number) * {"KB": 1e3, "MB": 1e6, "GB": 1e9}[unit]


def test_the_command_line_answers(run: Run) -> None:
    done = run("imagemill", "--version")
    assert done.stdout.startswith("imagemill "), done.stderr


def test_a_node_of_a_package_compiled_there_completes_there(run: Run, tmp_path: pathlib.Path) -> None:
    compiled = run(
        *("imagemill", "compile", "/work/config.yaml", "--image", "imagemill:test"),
        *("--set", "kubeflow.pipeline_root=/work/artifacts", "--output", "/work/package.yaml"),
    )
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr
    package = kubeflow.read_package(run.shared / "package.yaml")
    folder = runs.create(tmp_path)
    values = kubeflow_local.defaults(package)
    first = kubeflow_local.commands(package, values, folder)[0]
    assert first.node_id == "ImageExampleGen"
    connection = json.dumps({"sqlite": {"filename_uri": "/work/metadata.db", "connection_mode": 3}})
    done = run(*first.arguments, IMAGEMILL_METADATA=connection, TMPDIR="/tmp")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "finished"
    # What the container wrote, read here.
    store = metadata_store.MetadataStore(
        metadata.sqlite_metadata_connection_config(str(run.shared / "metadata.db"))
    )
    (execution,) = store.get_executions()
    assert execution.last_known_state == metadata_store_pb2.Execution.COMPLETE
    (manifest,) = run.shared.glob("artifacts/ImageExampleGen/examples/*/manifest.jsonl")
    assert manifest.stat().st_uid == USER
