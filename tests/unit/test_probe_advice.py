"""What a probe's answers mean, in words: one sentence for each way in which a network or an endpoint is in the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from iotwire.probe import TLS_1_2, TLS_1_3, ProbeHello, ProbeResult, advise, plan_hellos

NAME = "a1b2c3d4e5-ats.iot.eu-central-1.amazonaws.com"

# The outcome of a hello.
Rule = Callable[[ProbeHello], str]


def results(rule: Rule, *, ignores_alpn: bool = False, host: str = NAME) -> list[ProbeResult]:
    """All results of an endpoint on port 443 that answers by this rule."""
    found = []
    for hello in plan_hellos(host, 443):
        outcome = rule(hello)
        is_selected = outcome == "selected"
        has_alpn = is_selected and hello.alpn and hello.version == TLS_1_2 and not ignores_alpn
        found.append(
            ProbeResult(
                hello,
                "203.0.113.7:443",
                outcome,
                "in words",
                0.01,
                version=hello.version if is_selected else None,
                alpn=hello.alpn[0] if has_alpn else None,
                alert=40 if outcome == "alert" else None,
            )
        )
    return found


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda hello: "selected", "Every hello is answered"),
        (lambda hello: "not-tls", "does not speak TLS"),
        (lambda hello: "not-tls" if hello.alpn else "selected", "does not speak TLS"),
        (lambda hello: "alert", "refuses every hello"),
        (lambda hello: "silent", "no hello is answered"),
        (lambda hello: "closed" if hello.alpn else "alert", "no hello is answered"),
        (lambda hello: "selected" if hello.server_name is None else "reset", "a filter on the way goes by the name"),
        (lambda hello: "alert" if hello.server_name is None else "selected", "the endpoint goes by the name"),
        (lambda hello: "reset" if hello.alpn else "selected", "filters by ALPN"),
        (lambda hello: "alert" if hello.alpn == ("mqtt",) else "selected", "does not accept ALPN mqtt."),
        (lambda hello: "alert" if hello.version == TLS_1_3 else "selected", "TLS 1.3 is not spoken here"),
        (lambda hello: "silent" if hello.version == TLS_1_3 else "selected", "does not know 1.3"),
        (lambda hello: "alert" if hello.version == TLS_1_2 else "selected", "TLS 1.2 is not spoken here"),
        (lambda hello: "retry" if hello.version == TLS_1_3 else "selected", "Every hello is answered"),
    ],
)
def test_each_way_of_being_in_the_way_has_a_sentence(rule: Rule, words: str) -> None:
    advice = advise(results(rule))
    assert len(advice) == 1
    assert words in advice[0]


def test_alpn_that_is_ignored_is_told_of() -> None:
    (advice,) = advise(results(lambda hello: "selected", ignores_alpn=True))
    assert "ALPN x-amzn-mqtt-ca, mqtt, x-amzn-http-ca is offered and nothing is selected" in advice


def test_several_things_are_told_together() -> None:
    def rule(hello: ProbeHello) -> str:
        if hello.server_name is None or hello.version == TLS_1_3:
            return "alert"
        return "reset" if hello.alpn == ("mqtt",) else "selected"

    advice = advise(results(rule))
    for words, sentence in zip(("filters by ALPN", "TLS 1.3", "goes by the name"), advice, strict=True):
        assert words in sentence
    assert "x-amzn" not in advice[0]


@pytest.mark.parametrize(
    ("host", "issuer", "is_opened"),
    [
        (NAME, "CN=Plant Proxy CA,O=Plant", True),
        (NAME, "CN=Amazon RSA 2048 M01,O=Amazon,C=US", False),
        (NAME, None, False),
        ("a1b2c3.ats.iot.cn-north-1.amazonaws.com.cn", "CN=Plant Proxy CA", True),
        ("a1b2c3.iot.eu-central-1.amazonaws.com", "CN=An older authority", False),
        ("iot.example.com", "CN=Some authority", False),
    ],
)
def test_a_proxy_that_opens_tls_gives_itself_away(host: str, issuer: str | None, is_opened: bool) -> None:
    found = [
        replace(result, issuer=issuer if result.hello.version == TLS_1_2 else None)
        for result in results(lambda hello: "selected", host=host)
    ]
    assert any("opens TLS, and no client" in sentence for sentence in advise(found)) == is_opened


def test_an_address_without_a_name_has_advice_too() -> None:
    (advice,) = advise(results(lambda hello: "selected", host="203.0.113.7"))
    assert "Every hello is answered" in advice
