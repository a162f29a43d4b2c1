"""Calls in a child of fork, for tests of what a child may still use."""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING

import pytest

from scripted_threads import BOUND_S

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["in_child", "needs_fork"]


def needs_fork(test: Callable[..., None]) -> Callable[..., None]:
    """For a test that forks, which newer Pythons warn of where there are threads."""
    test = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")(test)
    return pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")(test)


def in_child(call: Callable[[], object]) -> str:
    """What a call gives, or raises, in a child of fork."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            told = repr(call())
        except BaseException as error:  # noqa: BLE001 -- told to the parent
            told = f"{type(error).__name__}: {error}"
        os.write(writer, told.encode())
        os._exit(0)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], BOUND_S)
    told = os.read(reader, 65536).decode() if ready else "it hangs"
    os.close(reader)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return told
