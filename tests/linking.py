"""A program with a client whose network comes up: for tests of how soon it sees that. It needs Linux and a namespace.

linking.py KIND WATCH: KIND is "asyncio" or "blocking"; WATCH is "netlink", or "polled" for a system that tells of no
change. It makes a network of its own, in which the server's address is missing, lets a client try to connect, whose
next attempt would be in an hour, gives the address to an interface, and prints the seconds until CONNECT came. It ends
with status 77 where this process may not make a network.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
import threading
import time
from pathlib import Path

from either import either
from iotwire import Backoff, Broker
from iotwire.client import backoff
from iotwire.transport import linkwatch
from scripted_threads import Server, serve_all, until

ADDRESS = "192.0.2.1"
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFADDR, SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8916, 0x8913, 0x8914
MAY_NOT = 77


def make_network() -> None:
    flags = CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWNET | CLONE_NEWUSER
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        sys.exit(MAY_NOT)


def ask(number: int, name: str, rest: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, number, struct.pack("16s24s", name.encode(), rest))


def set_up(name: str) -> None:
    ask(SIOCSIFFLAGS, name, struct.pack("H", 0x1))


def give_address(name: str, address: str) -> None:
    ask(SIOCSIFADDR, name, struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton(address)))


def main(kind: str, watch: str) -> None:
    make_network()  # before there is another thread, which would stay where it is
    set_up("lo")
    backoff.random.uniform = lambda _, most: most  # type: ignore[assignment]
    if watch == "polled":
        del socket.AF_NETLINK
    came = threading.Event()

    def serve(peer: object) -> None:
        came.set()
        serve_all(peer)  # type: ignore[arg-type]

    server = Server(serve, 5, None, 0, "0.0.0.0")
    try:
        with either(
            kind,
            Broker(ADDRESS, server.port),
            "c",
            starts=True,
            wait_for_server=True,
            reconnect=Backoff(base_s=3600, max_s=3600),
        ) as client:
            until(lambda: client._may_hurry)  # it has failed, and waits
            began = time.monotonic()
            give_address("lo:1", ADDRESS)
            assert came.wait(20), "it waits on"
            print(f"{time.monotonic() - began:.3f}")
            until(lambda: client.is_connected)
    finally:
        server.close()


if __name__ == "__main__":
    assert Path(linkwatch.__file__).exists()
    main(*sys.argv[1:])
