"""Routes that cost: what a budget counts, and what a client does when it is spent."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from either import KINDS, either
from iotwire import Backoff, Broker, Budget, ConnectError, EncodeError, Failover, Metered, Outbox, RouteError
from iotwire.client.uplinks import Uplinks
from iotwire.mqtt import Publish
from scripted_threads import Peer, scripted, until

QUICK: dict[str, Any] = {"reconnect": Backoff(base_s=0.001, max_s=0.01), "close_timeout_s": 0.2}


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_800_000_000.0
        monkeypatch.setattr("iotwire.failover.time.time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_period_begins_with_its_first_byte_and_ends_after_its_time(clock: Clock) -> None:
    budget = Budget(100, 60)
    clock.now += 1000
    assert (budget.left, budget.renews_in_s) == (100, 60)
    budget.spend(30)
    clock.now += 59
    budget.spend(60)
    assert (budget.spent, budget.left, budget.renews_in_s) == (90, 10, 1)
    clock.now += 1
    assert (budget.spent, budget.left) == (0, 100)


def test_more_than_there_is_can_be_spent_by_the_server_alone_and_nothing_is_left_then(clock: Clock) -> None:
    budget = Budget(100, 60)
    budget.spend(130)
    assert (budget.spent, budget.left) == (130, 0)


def test_a_clock_that_is_set_back_makes_no_period_longer(clock: Clock) -> None:
    budget = Budget(100, 60)
    budget.spend(100)
    clock.now -= 30  # a little: the period lasts on
    assert budget.left == 0
    clock.now -= 3600  # for good: it cannot be told what was when
    assert budget.left == 100


def test_what_was_spent_is_known_again_in_the_next_process(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "lte"
    budget = Budget(1000, 3600, file=path)
    budget.spend(9)
    assert not path.exists()  # that little is not worth wearing out a disk
    budget.spend(1)
    assert Budget(1000, 3600, file=path).spent == 10
    budget.spend(5)
    budget.save()
    assert Budget(1000, 3600, file=path).spent == 15
    assert [each.name for each in tmp_path.iterdir()] == ["lte"]
    clock.now += 3600
    assert Budget(1000, 3600, file=path).spent == 0


@pytest.mark.parametrize("text", ["", "15", "15 bytes", "-1 bytes since 1800000000\n", "x" * 1000, "é"])
def test_a_file_that_is_another_one_is_not_overwritten(text: str, tmp_path: Path) -> None:
    path = tmp_path / "lte"
    path.write_text(text, "utf-8")
    with pytest.raises(RouteError, match="file: "):
        Budget(1000, file=path)
    assert path.read_text("utf-8") == text


def test_a_file_that_cannot_be_written_is_told_and_the_budget_counts_on(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    budget = Budget(1000, 3600, file=tmp_path / "missing" / "lte")
    budget.spend(100)
    assert budget.spent == 100
    assert "cannot be written" in caplog.text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Budget(0), "max_bytes: must be an int of at least 1"),
        (lambda: Budget(1.5), "max_bytes: must be an int of at least 1"),  # type: ignore[arg-type]
        (lambda: Budget(1, 0), "period_s: must be a number of seconds, at least 1"),
        (lambda: Metered("a", Budget(1)), "a route of an Endpoint, or a Broker, is expected, not str"),  # type: ignore[arg-type]
        (lambda: Metered(Broker("a", 1), 1), "budget: .* is expected, not int"),  # type: ignore[arg-type]
    ],
)
def test_what_is_wrong_with_a_budget_is_said(make: Any, message: str) -> None:
    with pytest.raises((EncodeError, RouteError), match=message):
        make()


def test_a_spent_route_is_passed_over_until_its_period_is_over(clock: Clock) -> None:
    budget = Budget(100, 60)
    a, b = Broker("a", 1), Broker("b", 1)
    uplinks = Uplinks(Failover(Metered(a, budget), b), 0)
    budget.spend(100)
    uplinks.begin()
    assert uplinks.route is b
    assert not uplinks.has_another
    assert uplinks.renews_in_s is None
    clock.now += 60
    uplinks.begin_round()
    assert uplinks.route is a


def test_where_all_are_spent_the_first_that_renews_is_waited_for(clock: Clock) -> None:
    first, second = Budget(100, 60), Budget(100, 90)
    uplinks = Uplinks(Failover(Metered(Broker("a", 1), first), Metered(Broker("b", 1), second)), 0)
    first.spend(100)
    assert uplinks.renews_in_s is None
    second.spend(100)
    assert uplinks.renews_in_s == 60


# Clients.


class Taking:
    """A server that takes all; `sizes` of what came, by payload."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def __call__(self, peer: Peer) -> None:
        peer.accept()
        while (packet := peer.receive()) is not None:
            if isinstance(packet, Publish):
                self.payloads.append(bytes(packet.payload))
            peer.answer(packet)


SIZE = len(Publish("t", bytes(1000), qos=1, packet_id=1).encode())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_not_a_byte_more_is_sent_than_the_budget_has_and_the_rest_goes_another_way(kind: str, qos: int) -> None:
    cheap, dear = Taking(), Taking()
    budget = Budget(5 * SIZE)
    with scripted(dear) as first, scripted(cheap) as second:
        routes = Failover(Metered(first, budget), second, return_after_s=None)
        with either(kind, routes, "c", **QUICK) as client:
            for number in range(20):
                client.publish("t", b"%1000d" % number, qos)
            until(lambda: len({*dear.payloads, *cheap.payloads}) == 20)
            stats = client.stats().routes
    assert 3 <= len(dear.payloads) <= 4
    assert stats[0].bytes_sent + stats[0].bytes_received <= budget.max_bytes + 20 * 4  # acknowledgements may come yet
    assert not budget.left


@pytest.mark.parametrize("kind", KINDS)
def test_the_only_route_is_waited_for_until_it_may_be_used_again(kind: str, tmp_path: Path) -> None:
    taking = Taking()
    with ExitStack() as stack:
        route = stack.enter_context(scripted(taking))
        outbox = stack.enter_context(Outbox(tmp_path / "outbox.db"))
        budget = Budget(3 * SIZE, 1.0)
        client = stack.enter_context(either(kind, Failover(Metered(route, budget)), "c", outbox=outbox, **QUICK))
        began = time.monotonic()
        for number in range(8):
            client.publish("t", b"%1000d" % number, 1)
        until(lambda: outbox.stats().messages == 0)
        assert time.monotonic() - began >= 2.0  # three periods, of two messages each, and what is left
    assert [int(each) for each in taking.payloads] == list(range(8))


@pytest.mark.parametrize("kind", KINDS)
def test_who_connects_with_a_spent_budget_is_told_rather_than_left_waiting(kind: str) -> None:
    budget = Budget(100)
    budget.spend(100)
    with (
        scripted(Taking()) as route,
        pytest.raises(ConnectError, match="the budget of each route is spent"),
        either(kind, Failover(Metered(route, budget)), "c"),
    ):
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_that_no_budget_allows_is_refused_rather_than_waited_with(kind: str) -> None:
    taking = Taking()
    with scripted(taking) as route, either(kind, Failover(Metered(route, Budget(3000))), "c", **QUICK) as client:
        with pytest.raises(EncodeError, match=r"payload: a message of .* bytes is more than any route's budget allows"):
            client.publish("t", bytes(3000), 1)
        client.publish("t", b"small", 1)
    assert taking.payloads == [b"small"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_sends_too_much_spends_the_budget_too(kind: str) -> None:
    def flood(peer: Peer) -> None:
        peer.accept()
        peer.send(*(Publish("t", bytes(1000)) for _ in range(10)))
        peer.answer_until_close()

    cheap = Taking()
    budget = Budget(5000)
    with scripted(flood) as first, scripted(cheap) as second:
        routes = Failover(Metered(first, budget), second, return_after_s=None)
        with either(kind, routes, "c", **QUICK) as client:
            until(lambda: client.stats().routes[1].connections == 1)
            client.publish("t", b"x", 1)
    assert cheap.payloads == [b"x"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_two_clients_spend_they_spend_together(kind: str) -> None:
    budget = Budget(100_000)
    with scripted(Taking()) as route:
        routes = Failover(Metered(route, budget))
        with either(kind, routes, "a", **QUICK) as a, either(kind, routes, "b", **QUICK) as b:
            a.publish("t", bytes(1000), 1)
            b.publish("t", bytes(1000), 1)
            spent = sum(each.bytes_sent + each.bytes_received for client in (a, b) for each in client.stats().routes)
            assert budget.spent == spent > 2000
