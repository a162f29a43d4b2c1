"""pytest-benchmark suite of the TLS codec: `make bench`. The statements are tls.py's, which has the ratios.

A round makes or reads 100 hellos. `ssl` is what a program would otherwise have to do to see one.
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from contenders import Contender
from floor import Floor, load_floor
from suite import cases, present, take_time, timed
from tls import HOST, PROTOCOL, Tlslite, ours_decode, ours_encode, ours_route, run_once, ssl_encode

from iotwire.tls import ClientHello

EXECUTIONS = 100


def groups() -> list[tuple[str, object, list[Contender]]]:
    """Each operation, what it has to make, and who makes it."""
    model = ClientHello(HOST, (PROTOCOL,))
    records, floor = model.encode(), load_floor()
    encode, decode, route = ours_encode(), ours_decode(records), ours_route(records)
    encoders, decoders, routers = [encode, ssl_encode()], [decode], [route]
    try:
        with warnings.catch_warnings(action="ignore"):  # it imports asyncore
            peer = Tlslite(model)
    except ImportError:
        pass
    else:
        encoders.append(peer.encode())
        decoders.append(peer.decode())
        routers.append(peer.route())
    if isinstance(floor, Floor):
        encoders += present(floor.copy(records))
    wanted = {name: ours.outcome(run_once(ours)) for name, ours in (("decode", decode), ("route", route))}
    return [
        ("client-hello-encode", encode.outcome(run_once(encode)), encoders),
        ("client-hello-decode", wanted["decode"], decoders),
        ("client-hello-decode-and-read", wanted["route"], routers),
    ]


@timed
@pytest.mark.parametrize(("group", "expected", "contender"), cases(groups()))
def test_what_a_client_hello_costs(benchmark: Any, group: str, expected: object, contender: Contender) -> None:
    if contender.who not in ("ssl", "floor"):  # ssl's is another hello, and the floor's has a random that is old
        contender.check(expected)
    take_time(benchmark, group, contender, EXECUTIONS)
