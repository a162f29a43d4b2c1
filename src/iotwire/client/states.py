"""The line in the log for each change of a client's state, which people can read and programs too.

    state=waiting client_id=gateway-7 host=broker.example delay_s=1.5 reason="no connection within 30 s (TCP)"

Fields are key=value, with one space between them. A value that is not plain is a JSON string in ASCII, so that a line
is one line whatever a client id has in it. The record has the same fields as attributes, None where the line has none.
"""

from __future__ import annotations

import json
import logging
import re
from typing import Literal

__all__ = ["State", "log_state"]

State = Literal[
    "connecting", "connected", "renewing", "returning", "spent", "lost", "refused", "waiting", "closed", "gave_up"
]

_log = logging.getLogger("iotwire.client")

# Printable ASCII without the space, the quotation mark, the equals sign and the backslash.
_PLAIN = re.compile(r"[!#-<>-\[\]-~]+")


def log_state(
    level: int, state: State, client_id: str, host: str | None, delay_s: float | None, reason: object | None
) -> None:
    """reason: an error, or a text, that has no secret in it."""
    if not _log.isEnabledFor(level):
        return
    delay_s = None if delay_s is None else round(delay_s, 1)
    text = None if reason is None else str(reason)
    fields = {"state": state, "client_id": client_id, "host": host, "delay_s": delay_s, "reason": text}
    line = " ".join(f"{name}={_quote(str(value))}" for name, value in fields.items() if value is not None)
    _log.log(level, "%s", line, extra=fields)


def _quote(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value)
