"""The publisher that feeds a receiver: `feeder.py PORT DESCRIPTOR BURST PAYLOAD_SIZE USER_PROPERTIES`.

It sends what it is asked for at once.

On the descriptor, a socket, arrive numbers of messages, four bytes each. It ends when that socket does. BURST: 1 if it
is to answer with a byte when the broker has passed them on, which a ping after them tells.
"""

from __future__ import annotations

import socket
import sys

from task import HOST, PAYLOAD_SIZE, PAYLOADS, TOPIC, WINDOW, user_properties

from iotwire.mqtt import Connect, Decoder, PingReq, PreparedPublish


def main() -> None:
    orders = socket.socket(fileno=int(sys.argv[2]))
    payload_size = int(sys.argv[4])
    payloads = [(payload * (payload_size // PAYLOAD_SIZE + 1))[:payload_size] for payload in PAYLOADS[:WINDOW]]
    prepared = PreparedPublish(TOPIC, user_properties=user_properties(int(sys.argv[5])))
    packets = b"".join(prepared.encode(payload) for payload in payloads)
    size = len(packets) // WINDOW
    burst = sys.argv[3] == "1"
    with socket.create_connection((HOST, int(sys.argv[1]))) as link:
        decoder = Decoder(version=5)

        def ask(packet: bytes) -> None:
            link.sendall(packet)
            while not decoder.feed(link.recv(4096)):
                pass

        ask(Connect("feeder", keep_alive=0).encode(5))
        while order := orders.recv(4, socket.MSG_WAITALL):
            link.sendall(packets[: int.from_bytes(order, "big") * size])
            if burst:
                ask(PingReq().encode(5))
                orders.sendall(b".")


main()
