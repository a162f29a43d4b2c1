"""Packets that hypothesis makes up: all types, all properties, each field over the whole of its range."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from iotwire.mqtt import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)

if TYPE_CHECKING:
    from collections.abc import Callable


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
topics = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=60)
payloads = st.binary(max_size=300)
u32 = st.integers(0, 0xFFFFFFFF)


@st.composite
def publishes(draw: st.DrawFn, version: int) -> Publish:
    qos = draw(st.integers(0, 2))
    properties: dict[str, Any] = {}
    if version == 5:
        optional: dict[str, st.SearchStrategy[Any]] = {
            "payload_format_indicator": st.integers(0, 1),
            "message_expiry_interval": u32,
            "content_type": texts,
            "response_topic": topics,
            "correlation_data": payloads,
            "topic_alias": st.integers(1, 65535),
        }
        properties = {name: draw(values) for name, values in optional.items() if draw(st.booleans())}
        properties["subscription_identifiers"] = tuple(draw(st.lists(st.integers(1, 268435455), max_size=3)))
        properties["user_properties"] = tuple(draw(st.lists(st.tuples(texts, texts), max_size=4)))
    return Publish(
        "" if "topic_alias" in properties and draw(st.booleans()) else draw(topics),
        draw(payloads),
        qos=qos,
        retain=draw(st.booleans()),
        dup=draw(st.booleans()) if qos else False,
        packet_id=draw(st.integers(1, 65535)) if qos else None,
        **properties,
    )


packet_ids = st.integers(1, 65535)
user_properties = st.lists(st.tuples(texts, texts), max_size=4).map(tuple)
u16 = st.integers(0, 65535)
binaries = st.binary(max_size=50)
filters = (
    st.lists(
        st.one_of(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#/"), max_size=8), st.just("+")
        ),
        min_size=1,
        max_size=5,
    )
    .map("/".join)
    .filter(lambda text: text != "" and text.split("/")[0] != "$share")
)


def some_of(**strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Keyword arguments of which each may be missing."""
    return st.fixed_dictionaries({}, optional=strategies)


@st.composite
def connects(draw: st.DrawFn) -> Connect:
    wills = st.builds(
        lambda topic, payload, qos, retain, properties: Will(topic, payload, qos=qos, retain=retain, **properties),
        topics,
        binaries,
        st.integers(0, 2),
        st.booleans(),
        some_of(
            payload_format_indicator=st.integers(0, 1),
            message_expiry_interval=u32,
            content_type=texts,
            response_topic=topics,
            correlation_data=binaries,
            will_delay_interval=u32,
            user_properties=user_properties,
        ),
    )
    properties = draw(
        some_of(
            session_expiry_interval=u32,
            authentication_method=texts,
            request_problem_information=st.booleans(),
            request_response_information=st.booleans(),
            receive_maximum=st.integers(1, 65535),
            topic_alias_maximum=u16,
            user_properties=user_properties,
            maximum_packet_size=st.integers(1, 0xFFFFFFFF),
        )
    )
    if "authentication_method" in properties and draw(st.booleans()):
        properties["authentication_data"] = draw(binaries)
    return Connect(
        draw(texts),
        clean_start=draw(st.booleans()),
        keep_alive=draw(u16),
        username=draw(st.none() | texts),
        password=draw(st.none() | binaries),
        will=draw(st.none() | wills),
        **properties,
    )


@st.composite
def connacks(draw: st.DrawFn) -> ConnAck:
    properties = draw(
        some_of(
            session_expiry_interval=u32,
            assigned_client_identifier=texts,
            server_keep_alive=u16,
            authentication_method=texts,
            response_information=texts,
            server_reference=texts,
            reason_string=texts,
            receive_maximum=st.integers(1, 65535),
            topic_alias_maximum=u16,
            maximum_qos=st.integers(0, 1),
            retain_available=st.booleans(),
            user_properties=user_properties,
            maximum_packet_size=st.integers(1, 0xFFFFFFFF),
            wildcard_subscription_available=st.booleans(),
            subscription_identifier_available=st.booleans(),
            shared_subscription_available=st.booleans(),
        )
    )
    if "authentication_method" in properties and draw(st.booleans()):
        properties["authentication_data"] = draw(binaries)
    code = draw(st.sampled_from([0, 0, 0x80, 0x87, 0x9D]))
    return ConnAck(code, session_present=draw(st.booleans()) if code == 0 else False, **properties)


reasons = some_of(reason_string=texts, user_properties=user_properties)


def answers(cls: Callable[..., Packet], codes: list[int]) -> st.SearchStrategy[Packet]:
    return st.builds(
        lambda packet_id, code, given_ones: cls(packet_id, code, **given_ones),
        packet_ids,
        st.sampled_from(codes),
        reasons,
    )


def subscription_answers(cls: Callable[..., Packet], codes: list[int]) -> st.SearchStrategy[Packet]:
    return st.builds(
        lambda packet_id, chosen, given_ones: cls(packet_id, tuple(chosen), **given_ones),
        packet_ids,
        st.lists(st.sampled_from(codes), min_size=1, max_size=6),
        reasons,
    )


subscriptions = st.builds(
    Subscription,
    filters,
    st.integers(0, 2),
    no_local=st.booleans(),
    retain_as_published=st.booleans(),
    retain_handling=st.integers(0, 2),
)
packets: st.SearchStrategy[Packet] = st.one_of(
    connects(),
    connacks(),
    publishes(5),
    answers(PubAck, [0, 0x10, 0x80, 0x97]),
    answers(PubRec, [0, 0x10, 0x80, 0x97]),
    answers(PubRel, [0, 0x92]),
    answers(PubComp, [0, 0x92]),
    st.builds(
        lambda packet_id, wanted, given_ones: Subscribe(packet_id, tuple(wanted), **given_ones),
        packet_ids,
        st.lists(subscriptions, min_size=1, max_size=4),
        some_of(subscription_identifier=st.integers(1, 268435455), user_properties=user_properties),
    ),
    subscription_answers(SubAck, [0, 1, 2, 0x80, 0xA2]),
    st.builds(
        lambda packet_id, unwanted, given_ones: Unsubscribe(packet_id, tuple(unwanted), **given_ones),
        packet_ids,
        st.lists(filters, min_size=1, max_size=4),
        some_of(user_properties=user_properties),
    ),
    subscription_answers(UnsubAck, [0, 0x11, 0x80]),
    st.builds(
        lambda code, given_ones: Disconnect(code, **given_ones),
        st.sampled_from([0, 4, 0x81, 0xA2]),
        some_of(
            session_expiry_interval=u32,
            reason_string=texts,
            server_reference=texts,
            user_properties=user_properties,
        ),
    ),
    st.builds(
        lambda code, method, given_ones: Auth(code, authentication_method=method, **given_ones),
        st.sampled_from([0, 0x18, 0x19]),
        texts,
        some_of(authentication_data=binaries, reason_string=texts, user_properties=user_properties),
    ),
)
