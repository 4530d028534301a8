"""A real Chromium without a screen, by its debugging protocol: what it shows, logs and fetches."""

from __future__ import annotations

import base64
import contextlib
import json
import pathlib
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import websocket


class Page:
    """One open page.

    Attributes:
      requests: addresses that it asked for, itself included.
      complaints: errors and warnings of its console and its log.
    """

    def __init__(self, address: str):
        self._socket = websocket.create_connection(address, timeout=60, suppress_origin=True)
        self._next = 0
        self.requests: list[str] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the protocol and returns its result, taking note of events meanwhile."""
        self._next += 1
        self._socket.send(json.dumps({"id": self._next, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            self._note(message)
            if message.get("id") == self._next:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    def _note(self, message: dict[str, Any]) -> None:
        details = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(details["request"]["url"])
            case "Log.entryAdded" if details["entry"]["level"] in ("error", "warning"):
                self.complaints.append(details["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(details))
            case "Runtime.consoleAPICalled" if details["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(details["args"]))

    def open(self, address: str, width: int, height: int = 900, dark: bool = False) -> None:
        """Loads an address in a window of that size and waits until it stands."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", url=address)
        for _ in range(600):
            if self.value("document.readyState") == "complete" and self.value("location.href") == address:
                return
            time.sleep(0.05)
        raise TimeoutError(address)

    def value(self, expression: str) -> Any:
        """What an expression in JavaScript gives."""
        return self.send("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def screenshot(self, whole: bool = False) -> bytes:
        """PNG of the window, or of the whole page."""
        return base64.b64decode(self.send("Page.captureScreenshot", captureBeyondViewport=whole)["data"])

    def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode(self.send("Page.printToPDF", preferCSSPageSize=True)["data"])


@contextlib.contextmanager
def chromium() -> Iterator[Page]:
    """A browser with one page; it can reach no network."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.fail("There is no Chromium: run scripts/test-packages, which installs it.", pytrace=False)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-port=0",
            "--no-first-run",
        ]
        options += ["--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"]
        browser = subprocess.Popen(
            [program, *options, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield Page(_address(pathlib.Path(profile, "DevToolsActivePort"), browser))
        finally:
            browser.terminate()
            browser.wait(30)


def _address(port_file: pathlib.Path, browser: subprocess.Popen) -> str:
    for _ in range(600):
        if browser.poll() is not None:
            pytest.fail(f"Chromium ended with code {browser.returncode} before it began.", pytrace=False)
        with contextlib.suppress(FileNotFoundError, IndexError, OSError, StopIteration):
            port = port_file.read_text().splitlines()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
                return next(one["webSocketDebuggerUrl"] for one in json.load(answer) if one["type"] == "page")
        time.sleep(0.1)
    pytest.fail("Chromium did not begin to listen within a minute.", pytrace=False)
