"""A local endpoint that behaves like AWS IoT Core: for tests, for the demo, for work without a network."""

from __future__ import annotations

from .arrival import ConnectionInfo
from .emulator import Emulator
from .hub import EmulatorLimits, EmulatorStats
from .policy import PolicyError

__all__ = ["ConnectionInfo", "Emulator", "EmulatorLimits", "EmulatorStats", "PolicyError"]
