"""Properties of MQTT 5 from the command line: `-D PUBLISH content-type text/plain`, as mosquitto's commands take them.

Names are the standard's, with `-` or `_`. Which a packet has is read from the client's own types.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from ..client.outcomes import PublishProperties

__all__ = ["PACKETS", "read_properties"]

# By the word on the command line.
PACKETS = {
    "PUBLISH": frozenset(PublishProperties.__annotations__),
    "CONNECT": frozenset(
        {"receive_maximum", "session_expiry_interval", "topic_alias_maximum", "max_packet_size", "user_properties"}
    ),
    "SUBSCRIBE": frozenset({"subscription_identifier", "user_properties"}),
    "WILL": frozenset(PublishProperties.__annotations__) | {"will_delay_interval"},
}
# What the standard calls otherwise than the client's arguments.
OTHER_NAMES = {"user_property": "user_properties", "maximum_packet_size": "max_packet_size"}
TEXTS = frozenset({"content_type", "response_topic"})
BINARIES = frozenset({"correlation_data"})


def read_properties(parser: argparse.ArgumentParser, given: Sequence[Sequence[str]], packet: str) -> dict[str, Any]:
    """The properties of one packet, as keyword arguments. Leaves with a usage error where one cannot be."""
    found: dict[str, Any] = {}
    for words in given:
        kind = words[0].upper()
        if kind not in PACKETS:
            parser.error(f"--property: one of {', '.join(PACKETS)} is expected, not {words[0]}")
        if kind == packet:
            _add_property(parser, found, packet, words[1:])
    return found


def _add_property(parser: argparse.ArgumentParser, found: dict[str, Any], packet: str, words: Sequence[str]) -> None:
    name = (words[0] if words else "").replace("-", "_")
    name = OTHER_NAMES.get(name, name)
    if name not in PACKETS[packet]:
        known = ", ".join(sorted(each.replace("_", "-") for each in PACKETS[packet]))
        parser.error(f"--property {packet}: one of {known} is expected")
    values = words[1:]
    if len(values) != (2 if name == "user_properties" else 1):
        parser.error(f"--property {packet} {words[0]}: a value is expected; for user-property a name and a value")
    if name == "user_properties":
        found[name] = (*found.get(name, ()), (values[0], values[1]))
    elif name in found:
        parser.error(f"--property {packet} {words[0]}: is given twice")
    elif name in TEXTS:
        found[name] = values[0]
    elif name in BINARIES:
        found[name] = os.fsencode(values[0])
    elif values[0].isascii() and values[0].isdecimal() and len(values[0]) <= 10:
        found[name] = int(values[0])
    else:
        parser.error(f"--property {packet} {words[0]}: a number is expected")
