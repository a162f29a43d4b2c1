"""Packets that no decoder may take.

Each is one whole frame (or a header that can never become one), wrong in one thing. Where the standard and the services
in use agree on what to answer, its reason codes say so; elsewhere any code from 0x80 will do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vectors.mqtt.malformed import acknowledgements, connack, connect, frame, publish, session, subscribe

if TYPE_CHECKING:
    from vectors.mqtt.vector import Malformed

__all__ = ["MALFORMED"]

MALFORMED: tuple[Malformed, ...] = (
    *frame.MALFORMED,
    *connect.MALFORMED,
    *connack.MALFORMED,
    *publish.MALFORMED,
    *acknowledgements.MALFORMED,
    *subscribe.MALFORMED,
    *session.MALFORMED,
)
