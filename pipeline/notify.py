"""Tells another system how a run ended: one POST of JSON to an address that is kept secret."""

from __future__ import annotations

import json
import logging
import os
import urllib.error
import urllib.request
from typing import Any

#: Names the address; nothing is sent without it.
VARIABLE = "IMAGEMILL_NOTIFY_URL"

_TIMEOUT_SECONDS = 10


def notify(message: dict[str, Any]) -> bool:
    """Posts a message to the address that the environment names.

    Whether it arrives never decides about the run, so a failure is logged and no more. The address may hold a
    token, so it is not shown.

    Returns:
      Whether the other side took it.
    """
    url = os.environ.get(VARIABLE, "").strip()
    log = logging.getLogger("imagemill")
    if not url:
        return False
    if not url.startswith(("https://", "http://")):
        log.warning("%s is no http address; nobody was notified.", VARIABLE)
        return False
    body = json.dumps(message, ensure_ascii=False).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            log.info("Notified: %d.", answer.status)
            return True
    except (OSError, ValueError) as error:
        reason = error.code if isinstance(error, urllib.error.HTTPError) else type(error).__name__
        log.warning("The notification was not taken: %s.", reason)
        return False
