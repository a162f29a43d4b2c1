"""Proxies: the value that names one, and what is said to it."""

from __future__ import annotations

import pickle
import random
from typing import Any

import pytest

from iotwire import Proxy, RouteError
from iotwire.transport.proxies import ProxyError, make_tunnel

URLS: dict[str, tuple[str, str, int, bytes | None, bytes | None]] = {
    "http://proxy.example:3128": ("http", "proxy.example", 3128, None, None),
    "http://proxy.example:3128/": ("http", "proxy.example", 3128, None, None),
    "http://192.0.2.1:80": ("http", "192.0.2.1", 80, None, None),
    "socks5://[2001:db8::1]:1080": ("socks5", "2001:db8::1", 1080, None, None),
    "socks5h://proxy.example:65535": ("socks5h", "proxy.example", 65535, None, None),
    "http://me:word@proxy.example:3128": ("http", "proxy.example", 3128, b"me", b"word"),
    "http://me@proxy.example:3128": ("http", "proxy.example", 3128, b"me", b""),
    "http://me:a:b@c@proxy.example:3128": ("http", "proxy.example", 3128, b"me", b"a:b@c"),
    "socks5://m%40e:%2F%3Aw%C3%B6rd@proxy.example:1080": ("socks5", "proxy.example", 1080, b"m@e", "/:wörd".encode()),
}
NO_URLS = {
    "no scheme": "proxy.example:3128",
    "no port": "http://proxy.example",
    "no host": "http://:3128",
    "a path": "http://proxy.example:3128/secret",
    "another scheme": "ftp://secret@proxy.example:3128",
    "TLS": "https://me:secret@proxy.example:3128",
    "port 0": "http://me:secret@proxy.example:0",
    "port 65536": "http://me:secret@proxy.example:65536",
    "no name": "http://me:secret@exa mple:3128",
    "a control character": "http://me:secret%0D%0A@proxy.example:3128",
    "a colon in the name": "http://me%3Ame:secret@proxy.example:3128",
    "an empty name for SOCKS": "socks5://:secret@proxy.example:1080",
    "no password for SOCKS": "socks5://secret@proxy.example:1080",
    "a long name for SOCKS": f"socks5://{'secret' * 50}:x@proxy.example:1080",
    "no text": None,
    "bytes": b"http://proxy.example:3128",
}


@pytest.mark.parametrize(("url", "expected"), URLS.items())
def test_a_proxy_is_what_its_url_says(url: str, expected: tuple[Any, ...]) -> None:
    proxy = Proxy(url)
    assert (proxy.scheme, proxy.host, proxy.port, proxy.username, proxy.password) == expected
    assert proxy == Proxy(url)
    assert hash(proxy) == hash(Proxy(url))
    assert proxy != Proxy("http://another.example:1")
    assert pickle.loads(pickle.dumps(proxy)) == proxy


@pytest.mark.parametrize("url", NO_URLS.values(), ids=NO_URLS)
def test_what_names_no_proxy_is_refused_and_not_repeated(url: Any) -> None:
    with pytest.raises(RouteError, match=r"proxy|host") as caught:
        Proxy(url)
    assert "secret" not in str(caught.value)


def test_the_repr_shows_where_a_proxy_is_and_not_who_asks() -> None:
    assert repr(Proxy("http://secret:secret@proxy.example:3128")) == "Proxy('http://***@proxy.example:3128')"
    assert repr(Proxy("socks5://[::1]:1080")) == "Proxy('socks5://[::1]:1080')"


# What is said to a proxy: each thing we say, and what is answered to it.

HTTP_HEAD = b"CONNECT broker.test:8883 HTTP/1.1\r\nHost: broker.test:8883\r\n"
TALKS: dict[str, tuple[str, str, list[tuple[bytes, bytes]]]] = {
    "HTTP": ("http://p.test:1", "broker.test", [(HTTP_HEAD + b"\r\n", b"HTTP/1.1 200 Connection established\r\n\r\n")]),
    "HTTP, with a name": (
        "http://Aladdin:open%20sesame@p.test:1",  # RFC 7617, 2
        "broker.test",
        [
            (
                HTTP_HEAD + b"Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n",
                b"HTTP/1.0 204 No Content\r\nVia: 1.0 p.test\r\n\r\n",
            )
        ],
    ),
    "HTTP, to an IPv6 address": (
        "http://p.test:1",
        "2001:db8::1",
        [
            (
                b"CONNECT [2001:db8::1]:8883 HTTP/1.1\r\nHost: [2001:db8::1]:8883\r\n\r\n",
                # An answer to CONNECT has no body, whatever it says (RFC 9110, 9.3.6).
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
        ],
    ),
    "HTTP, after an interim answer": (
        "http://p.test:1",
        "broker.test",
        [(HTTP_HEAD + b"\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")],
    ),
    "SOCKS, to a name": (
        "socks5://p.test:1",
        "broker.test",
        [
            (b"\x05\x01\x00", b"\x05\x00"),
            (b"\x05\x01\x00\x03\x0bbroker.test\x22\xb3", b"\x05\x00\x00\x01\xc0\x00\x02\x01\x04\x38"),
        ],
    ),
    "SOCKS, with a name": (
        "socks5h://me:word@p.test:1",
        "192.0.2.9",
        [
            (b"\x05\x02\x00\x02", b"\x05\x02"),
            (b"\x01\x02me\x04word", b"\x01\x00"),
            (b"\x05\x01\x00\x01\xc0\x00\x02\x09\x22\xb3", b"\x05\x00\x00\x04" + b"\0" * 16 + b"\x04\x38"),
        ],
    ),
    "SOCKS, with a name that nobody asks for": (
        "socks5h://me:word@p.test:1",
        "fe80::1%eth0",  # the zone is this machine's
        [
            (b"\x05\x02\x00\x02", b"\x05\x00"),
            (
                b"\x05\x01\x00\x04\xfe\x80" + b"\0" * 13 + b"\x01\x22\xb3",
                b"\x05\x00\x00\x03\x06p.test\x04\x38",
            ),
        ],
    ),
}


@pytest.mark.parametrize("at_once", [1, 2, 3, 1000])
@pytest.mark.parametrize(("url", "host", "talk"), TALKS.values(), ids=TALKS)
def test_a_tunnel_is_open_after_the_last_byte_of_the_answer_and_not_before(
    url: str, host: str, talk: list[tuple[bytes, bytes]], at_once: int
) -> None:
    tunnel = make_tunnel(Proxy(url), host, 8883)
    said = tunnel.start()
    for expected, answer in talk:
        assert said == expected
        said = b""
        for start in range(0, len(answer), at_once):
            assert not tunnel.is_open
            assert not said
            said = tunnel.receive(answer[start : start + at_once])
    assert tunnel.is_open
    assert not said


@pytest.mark.parametrize(("url", "host", "talk"), TALKS.values(), ids=TALKS)
def test_a_proxy_that_goes_or_goes_on_opens_no_tunnel(url: str, host: str, talk: list[tuple[bytes, bytes]]) -> None:
    answers = b"".join(answer for _, answer in talk)
    for size in range(len(answers)):
        tunnel = make_tunnel(Proxy(url), host, 8883)
        tunnel.start()
        if size:
            tunnel.receive(answers[:size])
        with pytest.raises(ProxyError, match="closed the connection"):
            tunnel.receive(b"")
        assert not tunnel.is_open
    tunnel = make_tunnel(Proxy(url), host, 8883)
    tunnel.start()
    with pytest.raises(ProxyError, match="more than its answer"):
        tunnel.receive(answers + b"x")


@pytest.mark.parametrize("url", ["http://p.test:1", "socks5://p.test:1", "socks5://me:word@p.test:1"])
def test_whatever_a_proxy_says_its_end_is_an_error(url: str) -> None:
    chance = random.Random(1)
    for _ in range(3000):
        tunnel = make_tunnel(Proxy(url), "broker.test", 8883)
        tunnel.start()
        answer = bytes(chance.choice((0, 1, 2, 3, 4, 5, 10, 13, 32, 255, chance.randrange(256))) for _ in range(30))
        if url.startswith("http"):
            answer = b"HTTP/1.1 " + answer + b"\r\n\r\n"
        try:
            for each in (answer[:5], answer[5:], b""):
                tunnel.receive(each)
        except ProxyError:
            continue
        pytest.fail("a proxy that has gone is none")


REFUSALS = {
    "an unknown reply": (b"\x05\x00", b"\x05\x2a\x00\x01", "answered 42: no reply of SOCKS 5"),
    "an unknown type of address": (b"\x05\x00", b"\x05\x00\x00\x07", "no known type"),
    "another version in the end": (b"\x05\x00", b"\x04\x00\x00\x01", "not SOCKS 5"),
    "a method that was not offered": (b"\x05\x01", b"", "not offered"),
    "a password that was not offered": (b"\x05\x02", b"", "not offered"),
}


@pytest.mark.parametrize(("first", "second", "message"), REFUSALS.values(), ids=REFUSALS)
def test_an_answer_that_socks_does_not_have_is_an_error(first: bytes, second: bytes, message: str) -> None:
    tunnel = make_tunnel(Proxy("socks5://p.test:1"), "broker.test", 8883)
    tunnel.start()
    with pytest.raises(ProxyError, match=message):
        tunnel.receive(first + second)
