"""Talking to a cluster: submits a package, schedules it, follows and lists runs."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import kfp
import kfp_server_api
import requests
import urllib3

from modules.errors import InputError

if TYPE_CHECKING:
    from pipeline.kubeflow import Package

#: Names a token of the API, such as one of `kubectl create token`; never an option, which others could see.
TOKEN_VARIABLE = "IMAGEMILL_KUBEFLOW_TOKEN"

_POLL_SECONDS = 5.0
_TIMEOUT_SECONDS = 10
#: States of a run, or of a task, that it does not leave again.
ENDED = frozenset({"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"})

Listener = Callable[[str, str], None]


class Place(NamedTuple):
    """Where runs are submitted.

    Attributes:
      host: address of the API, such as http://localhost:8888.
      namespace: of the pods; with Kubeflow's profiles the one of the profile.
      experiment: name under which runs are listed together; made when it is not there.
    """

    host: str
    namespace: str
    experiment: str


class Submitted(NamedTuple):
    """A run that the API took: its id, and where a browser shows it."""

    run_id: str
    url: str


class Cluster:
    """A connection to the API of Kubeflow Pipelines."""

    def __init__(self, place: Place):
        """Connects, after asking the API whether it is one.

        Raises:
          InputError: nobody answers at the host, or somebody else, or we may not.
        """
        self._place = place
        self._host = place.host.rstrip("/")
        if not self._host.startswith(("http://", "https://")):
            self._host = f"https://{self._host}"
        token = os.environ.get(TOKEN_VARIABLE, "").strip() or None
        self._is_multi_user = self._knock(token)
        with warnings.catch_warnings(), self._told("connect"):
            warnings.simplefilter("ignore")
            # Given a namespace, the client does not ask the API itself, five times with pauses.
            self._client = kfp.Client(host=self._host, namespace=place.namespace, existing_token=token)

    def submit(
        self, package: Package, arguments: dict[str, Any], service_account: str | None = None
    ) -> Submitted:
        """Starts a run.

        Args:
          package: what to run.
          arguments: values of parameters, by name; the others have their defaults.
          service_account: of the pods; the cluster's own choice when None.

        Raises:
          InputError: the API refuses.
        """
        with self._told("submit a run"), _file(package) as path:
            experiment = self._experiment_id()
            name = f"{package.name} {time.strftime('%Y-%m-%d %H:%M:%S')}"
            run = self._client.run_pipeline(
                experiment, name, path, params=arguments, service_account=service_account
            )
        return Submitted(run.run_id, f"{self._host}/#/runs/details/{run.run_id}")

    def schedule(
        self,
        package: Package,
        arguments: dict[str, Any],
        cron: str,
        catch_up: bool,
        concurrency: int,
        service_account: str | None = None,
    ) -> str:
        """Makes a recurring run.

        Args:
          package: what to run.
          arguments: values of parameters, by name; the others have their defaults.
          cron: five fields as in crontab, or Kubeflow's six with seconds first; UTC.
          catch_up: whether runs that were missed, while the cluster was down, are made up for.
          concurrency: runs at most at a time.
          service_account: of the pods; the cluster's own choice when None.

        Returns:
          Id of the recurring run.

        Raises:
          InputError: the API refuses.
        """
        with self._told("make a schedule"), _file(package) as path:
            made = self._client.create_recurring_run(
                self._experiment_id(),
                f"{package.name} {cron}",
                cron_expression=with_seconds(cron),
                max_concurrency=concurrency,
                no_catchup=not catch_up,
                params=arguments,
                pipeline_package_path=path,
                service_account=service_account,
            )
        return made.recurring_run_id

    def follow(self, run_id: str, listener: Listener) -> str:
        """Waits for a run to end and tells what its tasks do.

        The API may be away for a moment meanwhile, as a port-forward is when its pod moves: the run goes on
        without us, so that is told and waited for.

        Args:
          run_id: id of the run.
          listener: called with the name of a task and its state whenever that changes.

        Returns:
          The state of the run at its end, one of `ENDED`.
        """
        states: dict[str, str] = {}
        while True:
            try:
                run = self._client.get_run(run_id)
            except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError) as error:
                if isinstance(error, kfp_server_api.ApiException) and error.status in (401, 403, 404):
                    with self._told("follow the run"):
                        raise
                listener("(the API)", f"does not answer: {_reason(error)}")
                time.sleep(_POLL_SECONDS)
                continue
            details = (run.run_details.task_details if run.run_details else None) or []
            for task in details:
                # Kubeflow lists its own drivers and the run itself among the tasks.
                if task.display_name.endswith("-driver") or task.display_name == run.display_name:
                    continue
                if task.state and states.get(task.display_name) != task.state:
                    states[task.display_name] = task.state
                    listener(task.display_name, task.state)
            if run.state in ENDED:
                return run.state
            time.sleep(_POLL_SECONDS)

    def runs(self, limit: int) -> list[dict[str, Any]]:
        """The latest runs of the experiment, the newest first.

        Raises:
          InputError: the API refuses, or there is no such experiment.
        """
        place = self._place
        with self._told("list runs"):
            try:
                experiment = self._client.get_experiment(
                    experiment_name=place.experiment, namespace=self._namespace
                )
            except ValueError as error:
                raise InputError(
                    f"There is no experiment {place.experiment!r} at {self._host}; submit a run first, or "
                    "name another with --experiment."
                ) from error
            listed = self._client.list_runs(
                experiment_id=experiment.experiment_id, page_size=limit, sort_by="created_at desc"
            )
        return [
            {
                "run_id": run.run_id,
                "name": run.display_name,
                "state": run.state,
                "created": run.created_at.isoformat() if run.created_at else None,
                "finished": run.finished_at.isoformat() if run.state in ENDED and run.finished_at else None,
                "error": run.error.message if run.error else None,
            }
            for run in listed.runs or []
        ]

    @property
    def _namespace(self) -> str | None:
        # A single-user API refuses a namespace.
        return self._place.namespace if self._is_multi_user else None

    def _experiment_id(self) -> str:
        # It prints a link, which would end up between what we print.
        with contextlib.redirect_stdout(io.StringIO()):
            return self._client.create_experiment(
                self._place.experiment, namespace=self._namespace
            ).experiment_id

    def _knock(self, token: str | None) -> bool:
        """Asks for the health of the API; says whether it knows users."""
        url = f"{self._host}/apis/v2beta1/healthz"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            answer = requests.get(url, headers=headers, timeout=_TIMEOUT_SECONDS, allow_redirects=False)
        except requests.RequestException as error:
            raise InputError(
                f"--host {self._place.host}: nobody answers ({_reason(error)}). From outside the cluster: "
                "kubectl port-forward --namespace kubeflow service/ml-pipeline 8888, then "
                "--host http://localhost:8888"
            ) from None
        if answer.status_code in (301, 302, 303, 307, 401, 403):
            raise InputError(self._may_not("use the API"))
        try:
            content = answer.json()
        except ValueError:
            content = None
        if answer.status_code != 200 or not isinstance(content, dict):
            raise InputError(
                f"--host {self._place.host}: something answers (HTTP {answer.status_code}), but it is not "
                "the API of Kubeflow Pipelines 2. Behind Kubeflow's dashboard it is https://HOST/pipeline."
            )
        return bool(content.get("multi_user") or content.get("multiUser"))

    def _may_not(self, what: str) -> str:
        return (
            f"{self._host}: no permission to {what} in namespace {self._place.namespace!r}. Put a token into "
            f"{TOKEN_VARIABLE}, such as that of `kubectl create token SERVICE_ACCOUNT "
            "--audience pipelines.kubeflow.org`, or ask for the role kubeflow-pipelines-edit."
        )

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turns an answer that a person can do something about into an InputError."""
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        except kfp_server_api.ApiException as error:
            if error.status in (401, 403):
                raise InputError(self._may_not(what)) from None
            raise InputError(f"{self._host} refuses to {what}: {_reason(error)}") from None
        except urllib3.exceptions.HTTPError as error:
            raise InputError(f"{self._host} does not answer any more: {_reason(error)}") from None


def parse_arguments(package: Package, given: list[str]) -> dict[str, Any]:
    """Reads `name=value` by the types that the package declares.

    Raises:
      InputError: an unknown parameter, a value not of its type, or a parameter without any value.
    """
    definitions = package.pipeline.root.input_definitions.parameters
    parsers = {"NUMBER_INTEGER": int, "NUMBER_DOUBLE": float, "STRING": str}
    arguments: dict[str, Any] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals or name not in definitions:
            raise InputError(f"--parameter {one}: expected NAME=VALUE, NAME one of {', '.join(definitions)}.")
        kind = (
            definitions[name]
            .DESCRIPTOR.fields_by_name["parameter_type"]
            .enum_type.values_by_number[definitions[name].parameter_type]
        )
        try:
            arguments[name] = parsers[kind.name](text)
        except ValueError:
            wanted = {"NUMBER_INTEGER": "a whole number", "NUMBER_DOUBLE": "a number"}[kind.name]
            raise InputError(f"--parameter {name}: expected {wanted}, received {text!r}.") from None
    missing = [
        name
        for name, one in definitions.items()
        if name not in arguments and not one.HasField("default_value")
    ]
    if missing:
        raise InputError(
            f"No value for {', '.join(missing)}: give --parameter {missing[0]}=VALUE"
            + (", or --data." if "data_path" in missing else ".")
        )
    return arguments


def with_seconds(cron: str) -> str:
    """A cron expression as Kubeflow wants it, with seconds first.

    Raises:
      InputError: it has neither five nor six fields.
    """
    fields = cron.split()
    if len(fields) not in (5, 6) or not all(re.fullmatch(r"[\w*/,?#-]+", one) for one in fields):
        raise InputError(
            f"--cron {cron!r}: expected five fields (minute, hour, day of month, month, day of week), "
            "such as '0 3 * * *' for three o'clock UTC."
        )
    return " ".join(fields if len(fields) == 6 else ["0", *fields])


@contextlib.contextmanager
def _file(package: Package) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "package.yaml")
        path.write_text(package.text(), encoding="utf-8")
        yield str(path)


def _reason(error: Exception) -> str:
    """What an answer says about itself, in one line."""
    if isinstance(error, kfp_server_api.ApiException):
        found = re.search(r'"(?:error_details|message|error)"\s*:\s*"((?:[^"\\]|\\.)*)"', error.body or "")
        text = found[1] if found else str(error.reason)
        return f"{text.splitlines()[0][:300]} (HTTP {error.status})" if error.status else text[:300]
    inner = str(error.args[0].reason if error.args and hasattr(error.args[0], "reason") else error)
    for known in (
        "Connection refused",
        "Name or service not known",
        "timed out",
        "certificate verify failed",
    ):
        if known in inner:
            return known[0].lower() + known[1:]
    return inner.splitlines()[0][:200] if inner else type(error).__name__
