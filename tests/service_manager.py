"""In the service manager's place: a socket that is told what a service says of itself."""

from __future__ import annotations

import socket
from contextlib import suppress


class Manager:
    """address: as NOTIFY_SOCKET has it, a path or "@" and a name."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address[0] == "@" else address)
        self.socket.setblocking(False)
        self.address = address

    def told(self) -> list[str]:
        """What it was told since it was asked last, in order."""
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(self.socket.recv(65536).decode())
        return found
