"""Ctrl-C wherever CPython would notice it."""

from __future__ import annotations

import dis
import functools
import os
import random
import sys
from collections.abc import Callable
from types import CodeType, FrameType, ModuleType
from typing import Any


@functools.cache
def interruptible(code: CodeType) -> frozenset[int]:
    """Where CPython looks for signals in a function: at its beginning, after a call, and where a loop begins again."""
    found = set()
    before = ""
    for instruction in dis.get_instructions(code):
        if before in ("RESUME", "CALL", "CALL_KW", "CALL_FUNCTION_EX"):
            found.add(instruction.offset)
        if instruction.opname == "JUMP_BACKWARD":
            found.add(instruction.argval)
        before = instruction.opname
    return frozenset(found)


class Interrupts:
    """KeyboardInterrupt in this thread, at random ones of all the places in some modules where a real one may come.

    module: the modules are those of its folder. chance: of each place, 0 to 1.

    Real signals come where most of the time is spent, and hardly ever where they do harm.
    """

    def __init__(self, module: ModuleType, seed: int, chance: float) -> None:
        self._folder = os.path.dirname(module.__file__ or "")
        self._random = random.Random(seed)
        self._chance = chance

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if os.path.dirname(frame.f_code.co_filename) != self._folder:
            return None
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti in interruptible(frame.f_code) and self._random.random() < self._chance:
            sys.settrace(None)  # one for a call
            raise KeyboardInterrupt
        return self._trace

    def over(self, call: Callable[[], object], count: int) -> None:
        """Make the call until it was interrupted so often."""
        before = sys.gettrace()
        while count:
            sys.settrace(self._trace)
            try:
                call()
            except KeyboardInterrupt:
                count -= 1
            finally:
                sys.settrace(before)
