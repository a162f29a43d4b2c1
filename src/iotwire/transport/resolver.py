"""Names resolved aside, by the system's own resolver, which can be neither interrupted nor hurried.

asyncio's `getaddrinfo` runs in threads that the loop, and the interpreter, wait for at their end: a program that has
given up on a dead resolver would hang there until the resolver gives up too, which takes it half a minute or more. The
threads here are nobody's: whoever has waited long enough goes on without them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..route import is_ip_literal
from .steps import Progress

__all__ = ["resolve", "resolve_blocking"]

# A thousand clients that lose their network at once are not to start a thousand threads.
MOST_THREADS = 16

# What `socket.getaddrinfo` gives, or the error that it raises.
Answer = list[Any] | BaseException


class _Lookup:
    """A name to be looked up. tell: called with the answer, in another thread."""

    def __init__(self, host: str, port: int, tell: Callable[[Answer], None]) -> None:
        self.host = host
        self.port = port
        self.tell = tell


class _Resolver:
    """Threads that look names up: as many as there are names, up to MOST_THREADS. They end with their work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Lookup] = deque()
        self._threads = 0

    def begin(self, lookup: _Lookup) -> None:
        """Have it looked up, now or in its turn. Raises OSError where the system gives no thread."""
        with self._lock:
            self._waiting.append(lookup)
            if self._threads == MOST_THREADS:
                return
            self._threads += 1
        try:
            threading.Thread(target=self._work, name="iotwire resolver", daemon=True).start()
        except RuntimeError as error:
            with self._lock:
                self._threads -= 1
                if self._threads:
                    return  # one of those does it
            self.forget(lookup)
            raise OSError(None, f"cannot resolve {lookup.host}: {error}") from error

    def forget(self, lookup: _Lookup) -> None:
        """Nobody waits for it any more."""
        with self._lock, suppress(ValueError):  # it is under way, or done
            self._waiting.remove(lookup)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                lookup = self._waiting.popleft()
            try:
                answer: Answer = _get_addresses(lookup.host, lookup.port)
            except BaseException as error:  # noqa: BLE001 -- raised where it is waited for
                answer = error
            lookup.tell(answer)


_resolver = _Resolver()


def _begin_anew() -> None:
    """The threads are not in a child of this process."""
    global _resolver  # noqa: PLW0603
    _resolver = _Resolver()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def _get_addresses(host: str, port: int, flags: int = 0) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=flags)


async def resolve(host: str, port: int) -> list[Any]:
    """What `socket.getaddrinfo` gives for TCP, and raises. An address needs no resolver."""
    if is_ip_literal(host):
        return _get_addresses(host, port, socket.AI_NUMERICHOST)
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[Answer] = loop.create_future()

    def take(answer: Answer) -> None:
        if not waiter.done():
            waiter.set_result(answer)

    def tell(answer: Answer) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(take, answer)

    resolver, lookup = _resolver, _Lookup(host, port, tell)
    resolver.begin(lookup)
    try:
        return _take(await waiter)
    finally:
        resolver.forget(lookup)


def resolve_blocking(host: str, port: int, progress: Progress) -> list[Any]:
    """The same for threads, as long as the step may take. Raises TimeoutError."""
    if is_ip_literal(host):
        return _get_addresses(host, port, socket.AI_NUMERICHOST)
    answers: list[Answer] = []
    is_told = threading.Event()

    def tell(answer: Answer) -> None:
        answers.append(answer)
        is_told.set()

    resolver, lookup = _resolver, _Lookup(host, port, tell)
    resolver.begin(lookup)
    with progress.interruption.calling(is_told.set):
        is_told.wait(progress.left())
    if not answers:
        resolver.forget(lookup)
        raise TimeoutError
    return _take(answers[0])


def _take(answer: Answer) -> list[Any]:
    if isinstance(answer, BaseException):
        raise answer
    return answer
