"""Submitting, scheduling and listing: what is asked of the API, and what is told when it refuses.

There is no cluster here. A small HTTP server stands for the API's side of the conversation: its refusals are
told as the real ones are, and what it is sent is checked; that a cluster then runs it is not.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

import portpicker
import pytest
import typer.testing

from modules.errors import InputError
from pipeline import cli, config, kubeflow, kubeflow_client
from pipeline.kubeflow_client import Cluster, Place

CONFIG = """
data: {path: /mnt/data/colours, image_size: [16, 16]}
model: {architecture: mnist_cnn}
push: {model_name: colours}
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> kubeflow.Package:
    path = tmp_path_factory.mktemp("client") / "config.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return kubeflow.compile_package(config.load(path), "registry.example/imagemill:1")


class _Api:
    """Answers by method and path; keeps what it was sent."""

    def __init__(self, answers: dict[str, Any]):
        self.answers = answers
        self.requests: list[tuple[str, str, Any]] = []

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        self.requests.append((method, path, body))
        found = self.answers.get(f"{method} {path.partition('?')[0]}", (404, {"error": "no such thing"}))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        return found if isinstance(found, tuple) else (200, found)

    def sent(self, method: str, path: str) -> Any:
        (body,) = [
            one for kind, where, one in self.requests if (kind, where.partition("?")[0]) == (method, path)
        ]
        return body


@contextlib.contextmanager
def _serve(answers: dict[str, Any]) -> Iterator[tuple[str, _Api]]:
    api = _Api(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, content = api.answer(self.command, self.path, body)
            text = content if isinstance(content, str) else json.dumps(content)
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if isinstance(content, str) else "application/json")
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = _answer  # noqa: N815 - the names that http.server wants

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", api
    finally:
        server.shutdown()
        server.server_close()


HEALTHY = {"GET /apis/v2beta1/healthz": {"multi_user": False}}
EXPERIMENTS = "/apis/v2beta1/experiments"
RUNS = "/apis/v2beta1/runs"
RECURRING = "/apis/v2beta1/recurringruns"


def _place(host: str) -> Place:
    return Place(host, "kubeflow", "imagemill")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, "Unauthorized"), "no permission to use the API"),
        ((302, ""), "no permission to use the API"),
        ((404, "page not found"), "something answers .HTTP 404., but it is not the API"),
        ((200, "<html>a dashboard</html>"), "something answers .HTTP 200., but it is not the API"),
    ],
)
def test_who_is_not_the_api_is_told_at_once(answer: tuple[int, str], message: str) -> None:
    answers = {"GET /apis/v2beta1/healthz": answer}
    with _serve(answers) as (host, _), pytest.raises(InputError, match=message):
        Cluster(_place(host))


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (f"http://127.0.0.1:{portpicker.pick_unused_port()}", "nobody answers .connection refused."),
        ("http://no-such-host.invalid", "nobody answers .*(name or service not known|resol)"),
    ],
)
def test_a_wrong_host_is_told_with_the_way_in(host: str, message: str, tmp_path: pathlib.Path) -> None:
    """By the command, before it compiles anything."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    for arguments in (["submit", str(path), "--image", "i"], ["runs"]):
        done = typer.testing.CliRunner().invoke(cli.app, [*arguments, "--host", host])
        assert isinstance(done.exception, InputError)
        with pytest.raises(InputError, match=message):
            raise done.exception
        assert "kubectl port-forward" in str(done.exception)


def test_a_submitted_run_has_the_package_and_the_parameters(package: kubeflow.Package) -> None:
    answers = HEALTHY | {
        f"GET {EXPERIMENTS}": {"experiments": []},
        f"POST {EXPERIMENTS}": {"experiment_id": "e-1", "display_name": "imagemill"},
        f"POST {RUNS}": {"run_id": "r-1"},
    }
    with _serve(answers) as (host, api):
        arguments = kubeflow_client.parse_arguments(
            package, ["epochs=5", "learning_rate=1", "data_path=/x=y"]
        )
        submitted = Cluster(_place(host)).submit(package, arguments, service_account="imagemill")
    assert submitted == ("r-1", f"{host}/#/runs/details/r-1")
    sent = api.sent("POST", RUNS)
    assert sent["experiment_id"] == "e-1"
    assert sent["service_account"] == "imagemill"
    given = sent["runtime_config"]["parameters"]
    assert given == {"epochs": 5, "learning_rate": 1.0, "data_path": "/x=y"}
    assert sent["pipeline_spec"]["pipeline_spec"]["schemaVersion"] == "2.1.0"
    assert "kubernetes" in sent["pipeline_spec"]["platform_spec"]["platforms"]


def test_a_schedule_has_its_cron_concurrency_and_catch_up(package: kubeflow.Package) -> None:
    answers = HEALTHY | {
        f"GET {EXPERIMENTS}": {"experiments": [{"experiment_id": "e-1", "display_name": "imagemill"}]},
        f"POST {RECURRING}": {"recurring_run_id": "s-1"},
    }
    with _serve(answers) as (host, api):
        made = Cluster(_place(host)).schedule(package, {}, "30 3 * * 1-5", catch_up=False, concurrency=2)
    assert made == "s-1"
    sent = api.sent("POST", RECURRING)
    assert sent["trigger"]["cron_schedule"]["cron"] == "0 30 3 * * 1-5"
    assert sent["max_concurrency"] == "2" or sent["max_concurrency"] == 2
    assert sent["no_catchup"] is True
    assert sent["mode"] == "ENABLE"


def test_a_run_is_followed_to_its_end_also_when_the_api_is_away_for_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(state: str, **tasks: str) -> dict[str, Any]:
        details = [{"display_name": name, "state": one} for name, one in tasks.items()]
        details += [{"display_name": "Trainer-driver", "state": "SUCCEEDED"}]
        return {
            "run_id": "r-1",
            "display_name": "a run",
            "state": state,
            "run_details": {"task_details": details},
        }

    answers = HEALTHY | {
        f"GET {RUNS}/r-1": [
            run("RUNNING", Trainer="RUNNING"),
            (503, {"error": "upstream is away"}),
            run("RUNNING", Trainer="SUCCEEDED", Evaluator="RUNNING"),
            run("FAILED", Trainer="SUCCEEDED", Evaluator="FAILED"),
        ]
    }
    monkeypatch.setattr(kubeflow_client, "_POLL_SECONDS", 0.01)
    told: list[tuple[str, str]] = []
    with _serve(answers) as (host, _):
        state = Cluster(_place(host)).follow("r-1", lambda task, one: told.append((task, one)))
    assert state == "FAILED"
    assert told == [
        ("Trainer", "RUNNING"),
        ("(the API)", "does not answer: upstream is away (HTTP 503)"),
        ("Trainer", "SUCCEEDED"),
        ("Evaluator", "RUNNING"),
        ("Evaluator", "FAILED"),
    ]


def test_refusals_are_told_in_a_line(package: kubeflow.Package) -> None:
    denied = (403, {"error": "Failed to authorize", "code": 7, "message": "User is not authorized"})
    with _serve({"GET /apis/v2beta1/healthz": {"multi_user": True}, f"GET {EXPERIMENTS}": denied}) as (
        host,
        api,
    ):
        with pytest.raises(InputError, match="no permission to submit a run in namespace 'kubeflow'"):
            Cluster(_place(host)).submit(package, {})
        assert "namespace=kubeflow" in api.requests[-1][1]
        with pytest.raises(InputError, match="no permission to list runs"):
            Cluster(_place(host)).runs(5)
    bad = (400, {"error_message": "x", "error_details": "Invalid input error: parameter 'epoch' is unknown"})
    answers = HEALTHY | {
        f"GET {EXPERIMENTS}": {"experiments": [{"experiment_id": "e-1", "display_name": "imagemill"}]},
        f"POST {RUNS}": bad,
    }
    message = "refuses to submit a run: Invalid input error: parameter 'epoch'"
    with _serve(answers) as (host, _), pytest.raises(InputError, match=message):
        Cluster(_place(host)).submit(package, {})


def test_runs_are_listed_newest_first_and_no_experiment_is_told() -> None:
    listed = {
        "runs": [
            {"run_id": "r-2", "display_name": "b", "state": "RUNNING", "created_at": "2026-01-02T03:04:05Z"},
            {"run_id": "r-1", "display_name": "a", "state": "FAILED", "error": {"code": 9, "message": "why"}},
        ]
    }
    experiment = {"experiments": [{"experiment_id": "e-1", "display_name": "imagemill"}]}
    with _serve(HEALTHY | {f"GET {EXPERIMENTS}": experiment, f"GET {RUNS}": listed}) as (host, api):
        found = Cluster(_place(host)).runs(7)
        assert [one["run_id"] for one in found] == ["r-2", "r-1"]
        assert found[0]["created"] == "2026-01-02T03:04:05+00:00"
        assert found[1]["error"] == "why"
        assert "page_size=7" in api.requests[-1][1]
        assert "created_at" in api.requests[-1][1]
    answers = HEALTHY | {f"GET {EXPERIMENTS}": {"experiments": []}}
    with _serve(answers) as (host, _), pytest.raises(InputError, match="no experiment 'imagemill'"):
        Cluster(_place(host)).runs(7)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("epoch=5", "expected NAME=VALUE, NAME one of .*epochs"),
        ("epochs", "expected NAME=VALUE"),
        ("epochs=five", "--parameter epochs: expected a whole number, received 'five'"),
        ("learning_rate=fast", "expected a number, received 'fast'"),
    ],
)
def test_a_wrong_parameter_is_told_before_anything_is_sent(
    package: kubeflow.Package, given: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        kubeflow_client.parse_arguments(package, [given])


@pytest.mark.parametrize("cron", ["hourly", "* * * *", "0 0 * * * * *", "0 3 * * $"])
def test_a_wrong_cron_is_told(cron: str) -> None:
    with pytest.raises(InputError, match="expected five fields"):
        kubeflow_client.with_seconds(cron)
    assert kubeflow_client.with_seconds("*/5 * * * *") == "0 */5 * * * *"
    assert kubeflow_client.with_seconds("1 0 3 * * ?") == "1 0 3 * * ?"
