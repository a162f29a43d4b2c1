"""A message as a request: what the service's HTTPS publish takes, checked and put into words.

`POST /topics/{topic}` with a query and headers of the service's own (AWS IoT Core developer guide, "HTTPS"). What a
caller gives never reaches the head of a request as it is: it is percent-encoded in the target or base64 in a header, so
no topic and no property can add a header or a request.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict
from urllib.parse import quote

from ..errors import EncodeError
from ..limits import AwsIotLimits
from ..mqtt import PreparedPublish, validate_topic_name

if TYPE_CHECKING:
    from typing import Literal

__all__ = ["MessageProperties", "Request", "make_request"]

# The service's words for the payload format indicator (MQTT 5.0, 3.3.2.3.2), by its value.
PAYLOAD_FORMATS = ("UNSPECIFIED_BYTES", "UTF8_DATA")
# Arguments that the MQTT codec, which checks them, has under the standard's own names.
ARGUMENT_OF = {"message_expiry_interval": "message_expiry", "payload_format_indicator": "payload_format"}


class MessageProperties(TypedDict, total=False):
    """What a message may have beside topic, payload, QoS and retain: MQTT 5.0 properties. None leaves one out.

    content_type: 256 bytes at most. response_topic: a topic name. message_expiry: seconds, 1 to 604800.
    user_properties: pairs of str, in order, names may repeat; 8 KiB together. correlation_data: 8 KiB at most.
    payload_format: 0 or "UNSPECIFIED_BYTES", 1 or "UTF8_DATA".
    """

    content_type: str | None
    response_topic: str | None
    message_expiry: int | None
    user_properties: Iterable[tuple[str, str]]
    payload_format: Literal[0, 1, "UNSPECIFIED_BYTES", "UTF8_DATA"] | None
    correlation_data: bytes | bytearray | memoryview | None


class Request(NamedTuple):
    """One message, ready for any connection. headers: all but Host, which the connection knows."""

    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    method: bytes = b"POST"


def make_request(
    limits: AwsIotLimits | None,
    topic: str,
    payload: bytes | bytearray | memoryview = b"",
    qos: int = 0,
    retain: bool | None = None,
    *,
    content_type: str | None = None,
    response_topic: str | None = None,
    message_expiry: int | None = None,
    user_properties: Iterable[tuple[str, str]] = (),
    payload_format: Any = None,
    correlation_data: bytes | bytearray | memoryview | None = None,
) -> Request:
    """The request for a message. See `HttpsPublisher.publish`.

    Raises EncodeError, which names the argument, for what neither MQTT nor HTTPS nor, within `limits`, the service
    would take.
    """
    if payload_format in PAYLOAD_FORMATS:
        payload_format = PAYLOAD_FORMATS.index(str(payload_format))
    properties: dict[str, Any] = {
        "payload_format_indicator": payload_format,
        "message_expiry_interval": message_expiry,
        "content_type": content_type,
        "response_topic": response_topic,
        "correlation_data": None if correlation_data is None else _bytes_of(correlation_data, "correlation_data"),
        "user_properties": _pairs_of(user_properties),
    }
    if qos == 2:  # which the codec would take
        raise EncodeError("HTTPS carries 0 and 1 alone", field="qos")
    validate_topic_name(topic)
    try:  # the one table of MQTT's rules is the codec's
        PreparedPublish(topic, qos, bool(retain) if retain is None else retain, 5, **properties)
    except EncodeError as error:
        field = ARGUMENT_OF.get(error.field, error.field)
        raise EncodeError(error.message, field=field, clause=error.clause) from None
    if topic in (".", ".."):
        raise EncodeError("must not be . or .., which a URL takes for a folder", field="topic", clause="RFC 3986, 3.3")
    body = _bytes_of(payload, "payload")
    if limits is not None and (fault := limits.fault_of_publish(topic, len(body), qos, properties)) is not None:
        raise EncodeError(fault.text, field=ARGUMENT_OF.get(fault.field, fault.field))

    query = f"qos={int(qos)}"
    if retain is not None:
        query += "&retain=true" if retain else "&retain=false"
    if content_type is not None:
        query += f"&contentType={quote(content_type, safe='')}"
    if response_topic is not None:
        query += f"&responseTopic={quote(response_topic, safe='')}"
    if message_expiry is not None:
        query += f"&messageExpiry={int(message_expiry)}"

    headers = [(b"Content-Type", b"application/octet-stream"), (b"Content-Length", b"%d" % len(body))]
    if properties["user_properties"]:
        listed = [{name: value} for name, value in properties["user_properties"]]
        text = json.dumps(listed, ensure_ascii=False, separators=(",", ":"))
        headers.append((b"X-Amz-Mqtt5-User-Properties", b64encode(text.encode())))
    if payload_format is not None:
        name = PAYLOAD_FORMATS[int(payload_format)]
        headers.append((b"X-Amz-Mqtt5-Payload-Format-Indicator", name.encode()))
    if correlation_data is not None:
        headers.append((b"X-Amz-Mqtt5-Correlation-Data", b64encode(properties["correlation_data"])))
    # Nothing stays raw but A-Z a-z 0-9 - . _ ~: the service takes a raw / for the end of the topic.
    return Request(f"/topics/{quote(topic, safe='')}?{query}".encode(), headers, body)


def _bytes_of(value: Any, field: str) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        view = memoryview(value)
    except TypeError:
        raise EncodeError(f"must be bytes-like, not {type(value).__name__}", field=field) from None
    if not view.c_contiguous:
        raise EncodeError("must be a C-contiguous buffer", field=field)
    return view.tobytes()  # the caller may change its buffer while the request is on its way, or sent again


def _pairs_of(value: Any) -> Any:
    try:
        return tuple(value or ())
    except TypeError:
        return value  # the codec says what is wrong with it
