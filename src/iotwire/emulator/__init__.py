"""A local endpoint that behaves like AWS IoT Core: for tests, for the demo, for work without a network."""

from __future__ import annotations

from .emulator import Emulator
from .hub import EmulatorLimits, EmulatorStats

__all__ = ["Emulator", "EmulatorLimits", "EmulatorStats"]
