"""A real MariaDB server on the loopback interface, for tests: its own data, its own user, gone afterwards."""

from __future__ import annotations

import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import portpicker
import pymysql
import pytest


class MariaDB:
    """A server that tests may stop and start. Use as a context manager."""

    def __init__(self) -> None:
        for program in ("mariadbd", "mariadb-install-db"):
            if not _find(program):
                pytest.fail(
                    f"{program} is missing, which this test needs: run scripts/test-packages", pytrace=False
                )
        # Not pytest's folder, which only its owner may enter: root's server runs as nobody.
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="imagemill-mariadb-"))
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        self.port = portpicker.pick_unused_port()
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> MariaDB:
        command = [_find("mariadb-install-db"), "--no-defaults", f"--datadir={self._data}", "--skip-test-db"]
        self._run([*command, "--auth-root-authentication-method=normal"])
        self.start()
        with self._connect("root", "") as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE metadata")
            cursor.execute("CREATE USER 'imagemill'@'%' IDENTIFIED BY 'loopback only'")
            cursor.execute("GRANT ALL ON metadata.* TO 'imagemill'@'%'")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def connection(self) -> str:
        """The connection of ML Metadata as JSON, as a Secret would hold it."""
        mysql = {"host": "127.0.0.1", "port": self.port, "database": "metadata"}
        return json.dumps({"mysql": {**mysql, "user": "imagemill", "password": "loopback only"}})

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        log = (self._folder / "log").open("ab")
        command = [_find("mariadbd"), "--no-defaults", f"--datadir={self._data}", "--bind-address=127.0.0.1"]
        command += [f"--port={self.port}", f"--socket={self._folder / 'socket'}"]
        self._process = subprocess.Popen(
            [*command, "--innodb-buffer-pool-size=32M"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=self._user,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as answer:
                    if answer.recv(1):
                        return
            except OSError:
                time.sleep(0.1)
        pytest.fail((self._folder / "log").read_text(encoding="utf-8")[-2000:], pytrace=False)

    def stop(self) -> None:
        """Stops the server as an operator would."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=60)

    @property
    def _data(self) -> pathlib.Path:
        return self._folder / "data"

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, user=self._user)
        if done.returncode:
            pytest.fail(f"{command[0]}: {done.stdout[-1000:]}{done.stderr[-1000:]}", pytrace=False)

    def _connect(self, user: str, password: str) -> pymysql.Connection:
        return pymysql.connect(host="127.0.0.1", port=self.port, user=user, password=password)


def _find(program: str) -> str | None:
    """Debian puts servers where only root looks."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin:/usr/libexec")
