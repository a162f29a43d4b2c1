"""What both clients log when their state changes: one line each, which a program can take apart."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

import scripted_threads
from iotwire import Backoff, BlockingClient, Client, ConnectError
from iotwire.client.states import log_state
from iotwire.mqtt import ConnAck, Connect, Disconnect
from iotwire.route import Attempt, Route
from scripted import Peer, asynchronous, in_turn, scripted, until

QUICK = Backoff(base_s=0.001, max_s=0.008)
Lines = Callable[[], list[dict[str, str]]]
FIELDS = ("state", "client_id", "host", "delay_s", "reason")


def parsed(line: str) -> dict[str, str]:
    """The fields of a line, as a program would read them: key=value with one space between, values bare or JSON."""
    found = {}
    at = 0
    while at < len(line):
        field = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^\s"=\\]+)(?: |$)').match(line, at)
        assert field, line[at:]
        name, value = field.groups()
        assert name not in found
        found[name] = json.loads(value) if value.startswith('"') else value
        at = field.end()
    assert list(found) == [name for name in FIELDS if name in found]
    return found


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Lines]:
    """The lines about states, taken apart; each of them is compared with the record's own fields."""

    def told() -> list[dict[str, str]]:
        found = []
        for record in caplog.records:
            if record.name == "iotwire.client" and hasattr(record, "state"):
                line = parsed(record.getMessage())
                fields = {name: getattr(record, name) for name in FIELDS}
                assert line == {name: str(value) for name, value in fields.items() if value is not None}
                found.append({"level": record.levelname, **line})
        return found

    with caplog.at_level(logging.INFO, "iotwire.client"):
        yield told


def states_of(lines: list[dict[str, str]]) -> list[str]:
    return [each["state"] for each in lines]


def has_connected_again(lines: Lines) -> bool:
    states = states_of(lines())
    return states.count("connecting") == 3 and states[-1] == "connected"


# What the second of three connections meets: the states from then on, their level, and a word of the reason.
MEETS: dict[str, tuple[tuple[bytes, ...], list[str], str, str]] = {
    "a lost link": ((ConnAck().encode(),), ["connected", "lost"], "WARNING", "closed the connection"),
    "an attempt that fails": ((), ["waiting"], "WARNING", "before its CONNACK"),
    "a refusal": ((ConnAck(reason_code=0x87).encode(),), ["refused"], "ERROR", "NOT_AUTHORIZED (0x87)"),
    "another client with its id": (
        (ConnAck().encode(), Disconnect(0x8E).encode()),
        ["connected", "refused"],
        "ERROR",
        "SESSION_TAKEN_OVER",
    ),
}


def check(told: list[dict[str, str]], name: str) -> None:
    _, states, level, word = MEETS[name]
    assert states_of(told) == [
        *("connecting", "connected", "lost"),
        *("connecting", *states),
        *("connecting", "connected", "closed"),
    ]
    assert {(each["client_id"], each["host"]) for each in told} == {("gateway-7", "127.0.0.1")}
    ended = told[-4]
    assert (ended["level"], ended["delay_s"]) == (level, "0.0")
    assert word in ended["reason"]
    assert all("delay_s" not in each and "reason" not in each for each in told if each["level"] == "INFO")


@pytest.mark.parametrize("name", MEETS)
@asynchronous
async def test_each_change_of_state_is_one_line(lines: Lines, name: str) -> None:
    async def accept(peer: Peer) -> None:
        await peer.accept()
        await peer.answer_pings_until_close()

    async def meet(peer: Peer) -> None:
        await peer.expect(Connect)
        peer.send(*MEETS[name][0])

    scripts = in_turn(lambda peer: peer.accept(), meet, accept)
    async with scripted(scripts) as route, Client(route, "gateway-7", reconnect=QUICK):
        await until(lambda: has_connected_again(lines))
    check(lines(), name)


@pytest.mark.parametrize("name", MEETS)
def test_each_change_of_state_is_one_line_of_the_blocking_client_too(lines: Lines, name: str) -> None:
    def script(peer: scripted_threads.Peer) -> None:
        peer.expect(Connect)
        peer.send(*(MEETS[name][0] if peer.number == 1 else [ConnAck()]))
        if peer.number == 2:
            peer.answer_until_close()

    with scripted_threads.scripted(script) as route, BlockingClient(route, "gateway-7", reconnect=QUICK):
        scripted_threads.until(lambda: has_connected_again(lines))
    check(lines(), name)


@pytest.mark.parametrize(
    ("options", "states", "level"),
    [
        # Who calls `connect` is told by what it raises.
        ({}, ["connecting", "gave_up"], "INFO"),
        ({"wait_for_server": True, "reconnect": None}, ["connecting", "gave_up"], "ERROR"),
        (
            {"wait_for_server": True, "reconnect": Backoff(base_s=0.001, max_s=0.008, attempts=1)},
            ["connecting", "refused", "connecting", "gave_up"],
            "ERROR",
        ),
    ],
)
@asynchronous
async def test_a_client_that_gives_up_says_why(
    lines: Lines, options: dict[str, Any], states: list[str], level: str
) -> None:
    async with scripted(lambda peer: peer.accept(reason_code=0x87)) as route:
        with pytest.raises(ConnectError):
            await Client(route, "c", **options).connect()
    assert states_of(lines()) == states
    assert lines()[-1]["level"] == level
    assert "NOT_AUTHORIZED" in lines()[-1]["reason"]


@asynchronous
async def test_a_client_that_is_not_to_connect_again_gives_up_with_its_connection(lines: Lines) -> None:
    async with scripted(lambda peer: peer.accept()) as route, Client(route, "c", reconnect=None):
        await until(lambda: len(lines()) == 3)
    assert states_of(lines()) == ["connecting", "connected", "gave_up"]
    assert lines()[-1]["level"] == "ERROR"


class OfTheApplication(Route):
    """A route that names no host, and fails."""

    @property
    def protocol(self) -> str:
        return "mqtt"

    def prepare(self, now: datetime) -> Attempt:
        raise ValueError("PA55WORD")


@asynchronous
async def test_what_fails_in_a_route_is_not_told(lines: Lines) -> None:
    with pytest.raises(ConnectError):
        await Client(OfTheApplication(), "c", wait_for_server=True).connect()
    assert states_of(lines()) == ["connecting", "gave_up"]
    assert lines()[-1]["reason"] == "the route failed: ValueError"
    assert all("host" not in each for each in lines())


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("gateway-7", "gateway-7"),
        ("a/b:c[0]{1}", "a/b:c[0]{1}"),
        ("", '""'),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ('a"b', r'"a\"b"'),
        ("a\\b", r'"a\\b"'),
        ("a\nstate=lost", r'"a\nstate=lost"'),
        ("\u2028\x7f\u00e9", r'"\u2028\u007f\u00e9"'),
    ],
)
def test_a_value_that_is_not_plain_is_quoted(lines: Lines, value: str, shown: str, caplog: Any) -> None:
    log_state(logging.INFO, "lost", value, "broker.example", 1.25, None)
    assert caplog.messages == [f"state=lost client_id={shown} host=broker.example delay_s=1.2"]
    assert lines()[0]["client_id"] == value


def test_a_line_that_nobody_reads_is_not_made(caplog: pytest.LogCaptureFixture) -> None:
    class Costly:
        def __str__(self) -> str:
            raise AssertionError

    with caplog.at_level(logging.WARNING, "iotwire.client"):
        log_state(logging.INFO, "connected", "c", None, None, Costly())
    assert caplog.records == []
