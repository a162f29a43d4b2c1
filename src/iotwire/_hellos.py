"""What a TLS hello is asked for seldom: its repr, and to be made with extensions that a caller gives as bytes.

In Python, for compiled it would take a quarter of the codec's size. Loaded when it is first needed.
"""

from __future__ import annotations

from iotwire._tls import MAX_HELLO_SIZE
from iotwire._tls_tables import ARGUMENTS, EXTENSIONS
from iotwire.errors import EncodeError

TYPE_CHECKING = False  # as in `typing`, which costs more memory to import than the whole codec
if TYPE_CHECKING:
    from typing import Any, NoReturn, TypeAlias

    from iotwire._tls import ClientHello, ServerHello
    from iotwire.errors import TlsDecodeError

    Pairs: TypeAlias = tuple[tuple[int, bytes], ...]
    Given: TypeAlias = tuple[tuple[int, bytes | None], ...]

_SHOWN_BYTES = 64  # of a value that a repr shows; of a longer one it says the size
_CHOSEN = {"cipher_suites", "compression_methods", "ec_point_formats", "legacy_version"}  # by the codec, where None
_HEXADECIMAL = {
    "cipher_suite",
    "cipher_suites",
    "groups",
    "legacy_version",
    "record_version",
    "signature_algorithms",
    "version",
    "versions",
}
_SUPPORTED_VERSIONS, _KEY_SHARE = 43, 51
_BODY_AT = 9  # in a record, after the headers of it and of the message
_ARGUMENTS = {"supported_versions": "versions"}  # attributes whose argument has another name
_VECTORS = "RFC 8446 3.4"  # the clause of errors that could be anywhere


# Extensions given as bytes.


def as_pairs(extensions: Any) -> Given:
    """The argument `extensions`: (type, data) pairs, and types alone, of which the data is None here."""
    try:
        items = tuple(extensions)
    except TypeError:
        items = (None,)
    pairs: list[tuple[int, bytes | None]] = []
    for item in items:
        kind, data = (item, None) if isinstance(item, int) else _pair(item)
        if not isinstance(kind, int) or not 0 <= kind <= 0xFFFF:
            raise _refused("a type must be an int of 0 to 65535")
        pairs.append((int(kind), data))
    return tuple(pairs)


def _pair(item: Any) -> tuple[Any, bytes]:
    try:
        kind, data = item
    except (TypeError, ValueError):
        raise _refused("must be an iterable of pairs of a type and bytes, or of a type alone") from None
    try:
        with memoryview(data) as view:
            if view.nbytes > 0xFFFF:
                raise _refused(f"data of {view.nbytes} bytes; 0 to 65535 are allowed")
            return kind, bytes(view)
    except (BufferError, TypeError):
        raise _refused(f"data must be bytes-like, not {type(data).__name__}") from None
    except ValueError as error:
        if isinstance(error, EncodeError):
            raise
        raise _refused("data must be a buffer that was not released") from None


def _refused(message: str) -> EncodeError:
    return EncodeError(message, field="extensions", clause="RFC 8446 4.2")


def versions_in(given: Given) -> tuple[int, ...] | None:
    """What a caller's supported_versions says, None where there is none; whether it is right is found out later."""
    for kind, data in given:
        if kind == _SUPPORTED_VERSIONS and data is not None:
            return tuple(int.from_bytes(data[at : at + 2], "big") for at in range(1, len(data) - 1, 2)) or None
    return None


def merge(wire: bytes, extensions_at: int, made: Pairs, given: Given, arguments: list[Any]) -> bytes:
    """A ClientHello in one record, with the extensions that are given as bytes among those that arguments made.

    wire: without the given ones. extensions_at: where its own begin, or its size. made: its own. arguments: in the
    order of the table; bytes that say something else than one that differs from its default are an EncodeError.
    """
    usual = {**ARGUMENTS, "ec_point_formats": (0,), "supported_versions": ARGUMENTS["versions"]}
    stated = {
        row[0]: row[4]
        for row, value in zip(EXTENSIONS, arguments, strict=False)
        if row[4] is not None and value != usual[row[4]]
    }
    data_of = dict(made)
    kinds = {kind for kind, _ in given}
    merged = [(kind, data) for kind, data in made if kind not in kinds]
    for kind, data in given:
        own = data_of.get(kind)
        if data is None:
            if own is None:
                raise _refused(f"type {kind} is no pair, and no argument makes it")
            data = own
        elif own not in (None, data) and kind in stated:
            raise _refused(f"type {kind} says something else than {stated[kind]}")
        merged.append((kind, data))
    block = b"".join(kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data for kind, data in merged)
    body = wire[_BODY_AT : extensions_at - 2 if made else extensions_at]
    size = 4 + len(body) + 2 + len(block)
    if size > MAX_HELLO_SIZE:
        raise EncodeError(
            f"takes {size} bytes; at most {MAX_HELLO_SIZE} are allowed", field="hello", clause="RFC 8446 4"
        )
    record = wire[:3] + min(size, 16_384).to_bytes(2, "big")
    return record + b"\x01" + (size - 4).to_bytes(3, "big") + body + len(block).to_bytes(2, "big") + block


def refuse_hello(problem: TlsDecodeError, kind: int) -> NoReturn:
    """The peer's bytes are wrong. kind: of the extension that is, or -1."""
    _name_extension(problem, kind)
    raise problem


def _name_extension(error: TlsDecodeError, kind: int) -> None:
    """Say in an error which extension it is about."""
    for row in EXTENSIONS:
        if row[0] == kind:
            error.message = f"{row[1]}: {error.message}"
            error.args = (error.message,)
            if error.clause == _VECTORS:
                error.clause = row[2]


def refuse_extensions(problem: TlsDecodeError, kind: int) -> NoReturn:
    """The caller's bytes are wrong as a peer's would be. kind: of the extension that is, or -1."""
    _name_extension(problem, kind)
    raise EncodeError(problem.message, field="extensions", clause=problem.clause)


# Representations.


def show_client_hello(hello: ClientHello) -> str:
    """The call that makes this hello again."""
    given = _arguments_of(hello)
    parts: list[str] = []
    for name, value in given.items():
        is_positional = len(parts) < 2 and name == hello.__match_args__[len(parts)]
        parts.append(_show(name, value) if is_positional else f"{name}={_show(name, value)}")
    return f"ClientHello({', '.join(parts)})"


def _arguments_of(hello: ClientHello) -> dict[str, Any]:
    """The arguments that make this hello again, without those that can be left to their default."""
    make: Any = type(hello)
    given = {name: getattr(hello, name) for name in ARGUMENTS if name != "extensions"}
    usual = make(versions=given["versions"])
    for name, default in ARGUMENTS.items():
        expected = getattr(usual, name) if name in _CHOSEN else default
        if name in given and name != "random" and given[name] == expected:
            del given[name]
    kinds = {kind for kind, _ in hello.extensions}
    if _KEY_SHARE not in kinds and any(kind == _KEY_SHARE for kind, _ in usual.extensions):
        given["key_shares"] = None
    made: dict[int, bytes] = {}
    try:
        again = make(**given)
    except EncodeError:  # peers send what we would not
        pass
    else:
        if again == hello:
            return given
        made = dict(again.extensions)
    sent = dict(hello.extensions)
    for kind, _, _, _, attribute, _, _ in EXTENSIONS:
        if attribute is not None and kind in made and made[kind] != sent.get(kind):
            # No argument makes these bytes: they speak for themselves.
            given.pop(_ARGUMENTS.get(attribute, attribute), None)
    given["extensions"] = tuple(kind if made.get(kind) == data else (kind, data) for kind, data in hello.extensions)
    return given


def show_server_hello(hello: ServerHello) -> str:
    """What it selects; there is no call that makes one."""
    names = ("version", "cipher_suite", "alpn_protocol", "selected_group", "session_id", "random", "extensions")
    values = {name: getattr(hello, name) for name in names}
    told = " ".join(f"{name}={_show(name, value)}" for name, value in values.items() if value not in (None, b"", ()))
    return f"<{'HelloRetryRequest' if hello.is_hello_retry_request else 'ServerHello'} {told}>"


def _show(name: str, value: Any) -> str:
    if isinstance(value, tuple):
        items = ", ".join(_show(name, item) for item in value)
        return f"({items},)" if len(value) == 1 else f"({items})"
    if isinstance(value, bytes) and len(value) > _SHOWN_BYTES:
        return f"<{len(value)} bytes>"
    return f"0x{value:04X}" if name in _HEXADECIMAL else repr(value)
