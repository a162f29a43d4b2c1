"""Which route a client takes next."""

from __future__ import annotations

import pytest

from iotwire import X509, Broker, ConnectError, CredentialsError, EncodeError, Endpoint, Failover, RouteError, Tls
from iotwire.client.uplinks import MOST_PATIENCE, Uplinks, read_server_reference
from iotwire.mqtt import ReasonCode

A, B, C = (Broker(f"{name}.example", 1883) for name in "abc")
LOST = ConnectError("no answer", step="tcp")
REFUSED = ConnectError("not authorized", reason_code=0x87)
ELSEWHERE, MOVED = ReasonCode.USE_ANOTHER_SERVER, ReasonCode.SERVER_MOVED


def host_of(uplinks: Uplinks) -> str:
    assert isinstance(uplinks.route, Broker)
    return uplinks.route.host.partition(".")[0]


def fails(uplinks: Uplinks, error: Exception = LOST) -> bool:
    return uplinks.note_end(error, has_worked=False, lasted_s=0.0)


def works(uplinks: Uplinks, lasted_s: float = 5.0) -> bool:
    uplinks.note_connection()
    return uplinks.note_end(LOST, has_worked=True, lasted_s=lasted_s)


def make(*routes: Broker, max_references: int = 3, **options: object) -> Uplinks:
    uplinks = Uplinks(Failover(*routes, **options), max_references)  # type: ignore[arg-type]
    uplinks.begin()
    return uplinks


def test_all_routes_are_tried_in_their_order_and_then_it_waits() -> None:
    uplinks = make(A, B, C)
    seen = []
    for _ in range(2):
        for is_last in (False, False, True):
            seen.append(host_of(uplinks))
            assert uplinks.has_another != is_last
            assert fails(uplinks) != is_last
        uplinks.begin_round()
    assert seen == ["a", "b", "c"] * 2


def test_a_single_route_is_no_round() -> None:
    uplinks = Uplinks(A, 3)
    assert not uplinks.has_another
    assert not fails(uplinks)
    uplinks.begin_round()
    assert host_of(uplinks) == "a"


def test_a_connection_that_worked_and_is_lost_begins_with_the_first_one_after_a_pause() -> None:
    uplinks = make(A, B)
    assert fails(uplinks)
    assert host_of(uplinks) == "b"
    assert not works(uplinks)
    assert host_of(uplinks) == "a"
    assert fails(uplinks)
    assert host_of(uplinks) == "b"


def test_a_better_route_that_is_known_to_be_dead_is_tried_last() -> None:
    uplinks = make(A, B, C)
    fails(uplinks), fails(uplinks)
    uplinks.note_probed({0})
    works(uplinks)
    seen = []
    for _ in range(3):
        seen.append(host_of(uplinks))
        fails(uplinks)
    assert seen == ["b", "c", "a"]
    uplinks.begin()  # the network is another one
    assert host_of(uplinks) == "a"


def test_a_link_that_has_gone_is_not_tried_first() -> None:
    uplinks = make(A, B)
    uplinks.note_connection()
    uplinks.note_silent()
    uplinks.note_end(LOST, has_worked=True, lasted_s=9.0)
    assert host_of(uplinks) == "b"


def test_a_renewed_connection_stays_on_its_route() -> None:
    uplinks = make(A, B)
    fails(uplinks)
    uplinks.stay()
    works(uplinks)
    assert host_of(uplinks) == "b"
    works(uplinks)
    assert host_of(uplinks) == "a"


def test_a_round_is_refused_only_where_every_route_is() -> None:
    uplinks = make(A, B)
    fails(uplinks, REFUSED), fails(uplinks, LOST)
    assert uplinks.failure is LOST
    uplinks.begin_round()
    fails(uplinks, CredentialsError("expired")), fails(uplinks, REFUSED)
    assert uplinks.failure is REFUSED


def test_a_return_that_does_not_last_has_to_wait_for_longer_each_time() -> None:
    uplinks = make(A, B, return_after_s=60.0)
    fails(uplinks)
    times = []
    for _ in range(6):
        assert host_of(uplinks) == "b"
        times.append(uplinks._uplinks[0].patience)
        uplinks.go_back_to(0)
        works(uplinks)
        assert host_of(uplinks) == "a"
        fails(uplinks)  # it was gone back to in vain
    assert times == [1, 2, 4, 8, 16, MOST_PATIENCE]
    uplinks.go_back_to(0)
    works(uplinks)
    works(uplinks, lasted_s=60.0)
    assert uplinks._uplinks[0].patience == 1


def test_there_is_nothing_to_go_back_to_from_the_best_route_or_where_nobody_wants_it() -> None:
    assert make(A, B).make_prober(pytest.fail) is None
    assert Uplinks(A, 3).make_prober(pytest.fail) is None
    never = make(A, B, return_after_s=None)
    fails(never)
    assert never.make_prober(pytest.fail) is None


# Server References.


@pytest.mark.parametrize("code", [ELSEWHERE, MOVED])
def test_a_reference_is_followed_at_once(code: int) -> None:
    uplinks = Uplinks(A, 3)
    uplinks.note_reference(code, "b.example:8883")
    assert uplinks.has_another
    assert fails(uplinks)
    assert isinstance(uplinks.route, Broker)
    assert (uplinks.route.host, uplinks.route.port) == ("b.example", 8883)


def test_a_server_that_has_moved_is_looked_for_there_and_a_detour_is_made_once() -> None:
    for code, expected in ((ELSEWHERE, "a"), (MOVED, "b")):
        uplinks = Uplinks(A, 3)
        uplinks.note_reference(code, "b.example")
        fails(uplinks)
        assert host_of(uplinks) == "b"
        works(uplinks)
        assert host_of(uplinks) == expected


def test_a_server_that_is_not_where_it_has_moved_to_is_looked_for_where_it_was() -> None:
    uplinks = Uplinks(A, 3)
    uplinks.note_reference(MOVED, "b.example")
    fails(uplinks)
    assert host_of(uplinks) == "b"
    assert not fails(uplinks)
    uplinks.begin_round()
    assert host_of(uplinks) == "a"


def test_a_reference_at_the_end_of_a_connection_is_followed_at_once() -> None:
    uplinks = Uplinks(A, 3)
    uplinks.note_connection()
    uplinks.note_reference(ELSEWHERE, "b.example")
    assert uplinks.note_end(LOST, has_worked=True, lasted_s=60.0)
    assert host_of(uplinks) == "b"


@pytest.mark.parametrize("most", [0, 1, 3])
def test_servers_that_send_a_client_around_are_followed_so_often_and_no_more(most: int) -> None:
    uplinks = Uplinks(A, most)
    for _ in range(3):
        hops = 0
        while True:
            uplinks.note_reference(ELSEWHERE, "b.example" if host_of(uplinks) == "a" else "a.example")
            if not fails(uplinks):
                break
            hops += 1
        assert hops == most
        uplinks.begin_round()
        assert host_of(uplinks) == "a"


def test_of_many_references_as_many_are_tried_as_are_allowed() -> None:
    uplinks = make(A, C, max_references=2)
    uplinks.note_reference(ELSEWHERE, "b.example d.example e.example")
    seen = []
    while fails(uplinks):
        seen.append(host_of(uplinks))
    assert seen == ["b", "d", "c"]


def test_other_codes_and_references_that_are_none_lead_nowhere() -> None:
    for code, reference in ((0x87, "b.example"), (ELSEWHERE, None), (ELSEWHERE, ""), (MOVED, "-:-"), (MOVED, "b:0")):
        uplinks = Uplinks(A, 3)
        uplinks.note_reference(code, reference)
        assert not uplinks.has_another
        assert not fails(uplinks)


def test_a_route_of_the_service_goes_nowhere_else() -> None:
    route = Endpoint("x-ats.iot.eu-central-1.amazonaws.com").route("mqtt", X509("a.pem", "a.key"))
    assert route.moved_to("b.example", 8883) is None


def test_a_broker_that_moved_is_verified_under_its_new_name_with_the_same_settings() -> None:
    route = Broker("a.example", 8883, tls=Tls(alpn="mqtt"), username="u", password="p", websocket_path="/x")
    moved = route.moved_to("b.example", None)
    assert moved is not None
    attempt = moved.prepare(None)  # type: ignore[arg-type]
    assert attempt.tls is not None
    assert (attempt.host, attempt.port, attempt.tls.server_name, attempt.tls.alpn) == (
        "b.example",
        8883,
        "b.example",
        ("mqtt",),
    )
    assert (attempt.username, attempt.password, attempt.websocket_path) == ("u", b"p", "/x")
    assert attempt.authority == "b.example:8883"
    assert route.host == "a.example"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("b.example", [("b.example", None)]),
        ("b.example:8883", [("b.example", 8883)]),
        ("192.0.2.1:1883", [("192.0.2.1", 1883)]),
        ("[2001:db8::1]:1883", [("[2001:db8::1]", 1883)]),
        ("[2001:db8::1]", [("[2001:db8::1]", None)]),
        ("2001:db8::1", [("2001:db8::1", None)]),
        ("b.example  c.example:1", [("b.example", None), ("c.example", 1)]),
        ("b.example:http", []),
        ("b.example:123456", []),
        ("b.example:٣", []),
        ("", []),
    ],
)
def test_references_are_read_as_the_standard_shows_them(reference: str, expected: list[tuple[str, int | None]]) -> None:
    """MQTT 5.0, 4.13."""
    assert read_server_reference(reference) == expected


# What a session belongs to.


def test_two_interfaces_to_one_server_have_one_session_and_two_servers_have_two() -> None:
    endpoint = Endpoint("x-ats.iot.eu-central-1.amazonaws.com")
    x509 = X509("a.pem", "a.key")
    assert (
        endpoint.route("mqtt", x509, port=8883, interface="eth0").server
        == endpoint.route("mqtt", x509, port=443, interface="wwan0").server
    )
    assert Broker("a.example", 1883, interface="eth0").server == Broker("a.example", 1883).server
    assert A.server != B.server
    uplinks = make(A, B, shares_session=True)
    before = uplinks.server
    fails(uplinks)
    assert uplinks.server == before


@pytest.mark.parametrize(
    ("routes", "options", "message"),
    [
        ((), {}, "at least one route"),
        (("a.example",), {}, "a route of an Endpoint, or a Broker, is expected, not str"),
        ((A,), {"return_after_s": -1}, "return_after_s: must be 0 to 86400 seconds, or None"),
        ((A,), {"return_after_s": "60"}, "return_after_s: must be 0 to 86400 seconds, or None"),
    ],
)
def test_what_is_wrong_with_a_failover_is_said(
    routes: tuple[Broker, ...], options: dict[str, float], message: str
) -> None:
    with pytest.raises((RouteError, EncodeError), match=message):
        Failover(*routes, **options)
