"""ML Metadata as nodes reach it: by a connection in JSON, and through a restart of its database.

A database that is away for minutes must not cost the hours of work that a node has behind it. So a lost
connection is not an error of the node: it waits until the database answers again, opens a new connection
and asks anew. A wrong password or host is told at once, in the words of the database, which MLMD drops.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import pymysql
from absl import logging
from google.protobuf import json_format
from ml_metadata import errors
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata as tfx_metadata

from modules.errors import InputError

#: Names the connection: JSON of MLMD's `ConnectionConfig`, from a Secret in a cluster.
VARIABLE = "IMAGEMILL_METADATA"

#: How long a node waits for a database that is away. Longer than a database pod takes to move to another
#: node of the cluster with its volume.
PATIENCE_SECONDS = 900.0
_MOST_SECONDS_BETWEEN_TRIES = 5.0

# What the client library says when it is the connection that failed and not the request.
_LOST = (
    "Lost connection to MySQL server",
    "MySQL server has gone away",
    "Server shutdown in progress",
    "Connection was killed",
    "mysql_real_connect failed",
    "Can't connect to",
)
_ACCESS_DENIED, _UNKNOWN_DATABASE, _DATABASE_DENIED = 1045, 1049, 1044


class DatabaseAwayError(Exception):
    """The database of ML Metadata did not answer for as long as a node waits."""


def connection_from_environment() -> metadata_store_pb2.ConnectionConfig:
    """The connection that the environment names.

    Raises:
      InputError: there is none, or it is no `ConnectionConfig`.
    """
    text = os.environ.get(VARIABLE, "")
    if not text.strip():
        raise InputError(
            f"{VARIABLE} is not set. It holds the connection of ML Metadata as JSON, such as "
            '{"mysql": {"host": "imagemill-mariadb", "port": 3306, "database": "metadata", '
            '"user": "imagemill", "password": "..."}}; in a cluster it comes from the Secret that '
            "kubeflow.metadata_secret names."
        )
    try:
        return json_format.Parse(text, metadata_store_pb2.ConnectionConfig())
    except json_format.ParseError as error:
        # The text holds a password, so it is not shown.
        reason = str(error).split(" at ")[0].splitlines()[0]
        raise InputError(
            f"{VARIABLE} is no ConnectionConfig of ML Metadata in JSON: {reason[:200]}"
        ) from None


class Metadata(tfx_metadata.Metadata):
    """TFX's handle of ML Metadata, with patience for a database that is away for a while."""

    def __init__(
        self,
        connection_config: metadata_store_pb2.ConnectionConfig,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        super().__init__(connection_config)
        self._patience = patience_seconds

    def __enter__(self) -> Metadata:
        self._store = _Store(self._connection_config, self._patience)
        self._users += 1
        return self


class _Store(metadata_store.MetadataStore):
    """A store that connects again when the connection is lost."""

    def __init__(self, config: metadata_store_pb2.ConnectionConfig, patience_seconds: float) -> None:
        self._patience = patience_seconds
        _patiently(lambda: super(_Store, self).__init__(config), config, patience_seconds)
        # Nodes that run side by side get "aborted" from each other's transactions; the default gives up
        # after five times.
        self._max_num_retries = 20

    def _call_method(self, method_name: str, request: Any, response: Any) -> None:
        try:
            super()._call_method(method_name, request, response)
        except errors.StatusError as error:
            if not _is_lost(str(error)):
                raise
            logging.warning("The connection to ML Metadata was lost (%s); connecting again.", error)
            # A new one: MLMD's own, once it failed twice, takes the process down.
            renewed = _Store(self._config, self._patience)
            self._metadata_store = renewed._metadata_store
            super()._call_method(method_name, request, response)


def _patiently(
    connect: Callable[[], None], config: metadata_store_pb2.ConnectionConfig, patience_seconds: float
) -> None:
    """Connects, waiting for a database that is away.

    Raises:
      InputError: the database refuses this user or has no such database.
      DatabaseAwayError: it did not answer in time.
    """
    deadline = time.monotonic() + patience_seconds
    pause = 0.2
    while True:
        try:
            _knock(config)
            connect()
            return
        except (pymysql.err.OperationalError, RuntimeError) as error:
            reason = str(error.args[-1] if error.args else error)
        if time.monotonic() > deadline:
            raise DatabaseAwayError(
                f"ML Metadata's database at {_address(config)} did not answer for "
                f"{patience_seconds:.0f} s: {reason}. Finished nodes are kept: retry the run when it is back."
            )
        logging.warning("Waiting for ML Metadata's database at %s: %s", _address(config), reason)
        time.sleep(pause)
        pause = min(2 * pause, _MOST_SECONDS_BETWEEN_TRIES)


def _knock(config: metadata_store_pb2.ConnectionConfig) -> None:
    """Asks a MySQL or MariaDB server who we are, which tells why when it refuses; MLMD does not.

    Raises:
      InputError: it knows neither this user nor this password, or not this database.
      OperationalError: it does not answer.
    """
    if not config.HasField("mysql"):
        return
    mysql = config.mysql
    try:
        pymysql.connect(
            host=mysql.host or None,
            port=mysql.port or 3306,
            unix_socket=mysql.socket or None,
            user=mysql.user,
            password=mysql.password,
            database=mysql.database,
            connect_timeout=5,
        ).close()
    except pymysql.err.OperationalError as error:
        if error.args[0] in (_ACCESS_DENIED, _UNKNOWN_DATABASE, _DATABASE_DENIED):
            raise InputError(
                f"ML Metadata's database at {_address(config)} refuses the connection: {error.args[1]}. "
                f"Mend {VARIABLE} (in a cluster: the Secret that kubeflow.metadata_secret names)."
            ) from None
        raise


def _is_lost(message: str) -> bool:
    return any(sign in message for sign in _LOST)


def _address(config: metadata_store_pb2.ConnectionConfig) -> str:
    if not config.HasField("mysql"):
        return config.sqlite.filename_uri or "(no address)"
    return config.mysql.socket or f"{config.mysql.host}:{config.mysql.port or 3306}"


def initialize(connection: metadata_store_pb2.ConnectionConfig) -> None:
    """Creates the schema, or upgrades it, before any run: nodes that do so at once get in each other's way.

    Raises:
      InputError, DatabaseAwayError: as `Metadata`.
    """
    _patiently(
        lambda: metadata_store.MetadataStore(connection, enable_upgrade_migration=True) and None,
        connection,
        PATIENCE_SECONDS,
    )


def main() -> int:
    """`python -m pipeline.metadata`: what the schema-initialising Job runs."""
    logging.set_verbosity(logging.INFO)
    try:
        connection = connection_from_environment()
        initialize(connection)
    except (InputError, DatabaseAwayError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, InputError) else 75
    print(f"The schema of ML Metadata at {_address(connection)} is ready.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
