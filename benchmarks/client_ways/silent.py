"""A server that takes everything and acknowledges nothing but CONNECT: `silent.py`. It prints its port."""

from __future__ import annotations

import socket

from task import HOST

from iotwire.mqtt import ConnAck


def main() -> None:
    with socket.create_server((HOST, 0)) as server:
        print(server.getsockname()[1], flush=True)
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(ConnAck().encode(5))
            while connection.recv(1 << 20):
                pass


main()
