"""What a custom authorizer is given: every form to the byte, what is refused, and what never shows."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import traceback
import tracemalloc
from collections.abc import Callable
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoding import anything
from iotwire import CustomAuth as CustomAuthOfThePackage
from iotwire import Endpoint
from iotwire.custom_auth import CustomAuth
from iotwire.errors import CredentialsError, IotwireError, RouteError
from iotwire.mqtt import Connect, decode
from racing import run_together
from tokens import SIGNATURES, pem

NAME, SIGNED, KEY = "x-amz-customauthorizer-name", "x-amz-customauthorizer-signature", "TokenKeyName"
TOKEN, SIGNATURE = SIGNATURES["rsa-2048"][1]
UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")

# Arguments, then the user name of CONNECT, the query and the headers.
FORMS: dict[str, tuple[CustomAuth, str, str, dict[str, str]]] = {
    "all there is": (
        CustomAuth(
            "Door_1", token_key_name=KEY, token="a b", token_signature="+/x=", username="pi", password=b"raw\xff"
        ),
        f"pi?{NAME}=Door_1&{SIGNED}=%2B%2Fx%3D&TokenKeyName=a%20b",
        f"{NAME}=Door_1&{SIGNED}=%2B%2Fx%3D&TokenKeyName=a%20b",
        {NAME: "Door_1", SIGNED: "+/x=", KEY: "a b"},
    ),
    "no user": (
        CustomAuth("Door", token_key_name=KEY, token="t", token_signature="c2ln"),
        f"?{NAME}=Door&{SIGNED}=c2ln&TokenKeyName=t",
        f"{NAME}=Door&{SIGNED}=c2ln&TokenKeyName=t",
        {NAME: "Door", SIGNED: "c2ln", KEY: "t"},
    ),
    "the default authorizer": (
        CustomAuth(token_key_name=KEY, token="t", token_signature="c2ln", username="pi"),
        f"pi?{SIGNED}=c2ln&TokenKeyName=t",
        f"{SIGNED}=c2ln&TokenKeyName=t",
        {SIGNED: "c2ln", KEY: "t"},
    ),
    "signing disabled": (
        CustomAuth("Door", username="pi", password="geheim"),
        f"pi?{NAME}=Door",
        f"{NAME}=Door",
        {NAME: "Door"},
    ),
    "signing disabled, a token for the function itself": (
        CustomAuth("Door", token_key_name="jwt", token="h.p.s"),
        f"?{NAME}=Door&jwt=h.p.s",
        f"{NAME}=Door&jwt=h.p.s",
        {NAME: "Door", "jwt": "h.p.s"},
    ),
    "a token alone": (CustomAuth(token_key_name="jwt", token="h.p.s"), "?jwt=h.p.s", "jwt=h.p.s", {"jwt": "h.p.s"}),
    "the default authorizer, signing disabled": (CustomAuth(username="pi", password=b"x"), "pi", "", {}),
    "nothing at all": (CustomAuth(), "", "", {}),
    "every character of a name": (
        CustomAuth("A_z9=,@-"),
        f"?{NAME}=A_z9%3D%2C%40-",
        f"{NAME}=A_z9%3D%2C%40-",
        {NAME: "A_z9=,@-"},
    ),
    "a user that is sent as it is": (
        CustomAuth("Door", username="käse & brot/=%20#@"),
        f"käse & brot/=%20#@?{NAME}=Door",
        f"{NAME}=Door",
        {NAME: "Door"},
    ),
    # awsiotsdk appends a value that happens to contain its own `key=` as it is, and takes a `%` for encoding done.
    "values that look like parameters": (
        CustomAuth("TokenKeyName=", token_key_name=KEY, token="TokenKeyName=t&x%41=?", token_signature="a/b="),
        f"?{NAME}=TokenKeyName%3D&{SIGNED}=a%2Fb%3D&TokenKeyName=TokenKeyName%3Dt%26x%2541%3D%3F",
        f"{NAME}=TokenKeyName%3D&{SIGNED}=a%2Fb%3D&TokenKeyName=TokenKeyName%3Dt%26x%2541%3D%3F",
        {NAME: "TokenKeyName=", SIGNED: "a/b=", KEY: "TokenKeyName=t&x%41=?"},
    ),
}


@pytest.mark.parametrize("case", FORMS)
def test_every_form_to_the_byte(case: str) -> None:
    auth, username, query, headers = FORMS[case]
    for _ in range(2):  # what is cached is what was made
        assert auth.mqtt_username() == username
        assert auth.query() == query
        assert list(auth.headers().items()) == list(headers.items())


def test_headers_are_a_dict_of_ones_own() -> None:
    auth = CustomAuth("Door", token_key_name=KEY, token="t")
    auth.headers()["Host"] = "elsewhere"
    assert auth.headers() == {NAME: "Door", KEY: "t"}


def test_a_real_signature_arrives_as_it_was() -> None:
    auth = CustomAuth("Door", token_key_name=KEY, token=TOKEN, token_signature=SIGNATURE, username="pi")
    user, _, query = auth.mqtt_username().partition("?")
    assert user == "pi"
    assert dict(parse_qsl(query, strict_parsing=True)) == {NAME: "Door", SIGNED: SIGNATURE, KEY: TOKEN}
    assert query == auth.query()
    assert not set(SIGNATURE) & set("%\n\r ")


def test_the_user_name_goes_through_a_connect_with_its_password() -> None:
    auth = CustomAuth("Door", token_key_name=KEY, token="ü" * 1000, token_signature=SIGNATURE, password=b"\x00\xff")
    wire = Connect("c", username=auth.mqtt_username(), password=auth.password).encode()
    decoded: Any = decode(wire)[0]  # type: ignore[index]
    assert decoded.username == auth.mqtt_username()
    assert decoded.password == b"\x00\xff"


def test_what_may_be_seen_can_be_read() -> None:
    auth = CustomAuth("Door", token_key_name=KEY, token="t", username="pi", password="wort")
    assert (auth.authentication, auth.authorizer_name, auth.token_key_name) == ("custom", "Door", KEY)
    assert (auth.username, auth.password) == ("pi", b"wort")
    assert CustomAuth.authentication == "custom"
    assert CustomAuth(password="").password == b""
    assert CustomAuth().password is None
    assert CustomAuthOfThePackage is CustomAuth


# ---- percent-encoding


def reference(auth: CustomAuth, token: str | None, signature: str | None) -> str:
    """The query as the standard library makes it."""
    pairs = {NAME: auth.authorizer_name, SIGNED: signature, auth.token_key_name: token}
    return "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in pairs.items() if key and value)


def test_nothing_is_raw_but_the_unreserved_characters() -> None:
    for code in (*range(0x250), 0x20AC, 0xD7FF, 0xE000, 0xFFFF, 0x1F511, 0x10FFFF):
        query = CustomAuth(token_key_name="k", token=chr(code)).query()
        assert query == f"k={quote(chr(code), safe='')}"
        assert (query == f"k={chr(code)}") == (chr(code) in UNRESERVED)


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1)
NAMES = st.text(st.sampled_from(sorted(UNRESERVED - set(".~") | set("=,@"))), min_size=1, max_size=128)
KEYS = st.text(st.sampled_from(sorted(UNRESERVED - set(".~"))), min_size=1, max_size=128)
SIGNATURES_OF_ANY_SIZE = st.from_regex(r"\A[A-Za-z0-9+/]{1,400}={0,2}\Z")
USERS = st.text(st.characters(codec="utf-8", exclude_characters="?\0"))


@given(st.one_of(st.none(), NAMES), KEYS, TEXTS, st.one_of(st.none(), SIGNATURES_OF_ANY_SIZE), USERS)
def test_what_is_encoded_is_what_the_standard_library_decodes(
    name: str | None, key: str, token: str, signature: str | None, user: str
) -> None:
    if key.lower() in (NAME, SIGNED):
        return
    auth = CustomAuth(name, token_key_name=key, token=token, token_signature=signature, username=user)
    assert auth.query() == reference(auth, token, signature)
    assert auth.mqtt_username() == f"{user}?{auth.query()}"
    assert set(auth.query()) <= UNRESERVED | set("%=&")
    pairs = [pair.split("=") for pair in auth.query().split("&")]
    found = {unquote(key, errors="strict"): unquote(value, errors="strict") for key, value in pairs}
    assert found == {k: v for k, v in {NAME: name, SIGNED: signature, key: token}.items() if v is not None}
    supplied = CustomAuth(name, token_key_name=key, token=lambda: anything((token, signature)), username=user)
    assert supplied.mqtt_username() == auth.mqtt_username()
    assert supplied.query() == auth.query()


@pytest.mark.parametrize("letter", ["a", "+", "ü", "\U0001f511"])
def test_a_token_may_take_65535_bytes_and_no_more(letter: str) -> None:
    most = 65535 // len(letter.encode())
    auth = CustomAuth("Door", token_key_name="k", token=letter * most)
    assert auth.query() == f"{NAME}=Door&k={quote(letter, safe='') * most}"
    with pytest.raises(CredentialsError, match=r"^token: takes 6553\d bytes|^token: takes 65536 bytes"):
        CustomAuth("Door", token_key_name="k", token=letter * (most + 1))


# ---- fresh tokens


def test_a_callable_is_asked_each_time_a_form_is_made() -> None:
    numbers = count()
    auth = CustomAuth("Door", token_key_name=KEY, token=lambda: f"t{next(numbers)}", username="pi")
    assert next(numbers) == 0  # nobody asked yet
    assert auth.mqtt_username() == f"pi?{NAME}=Door&TokenKeyName=t1"
    assert auth.query() == f"{NAME}=Door&TokenKeyName=t2"
    assert auth.headers() == {NAME: "Door", KEY: "t3"}
    assert auth.mqtt_username() == f"pi?{NAME}=Door&TokenKeyName=t4"


def test_a_callable_may_bring_the_signature_along() -> None:
    pairs = iter([("t1", "c2ln"), ("t2", "+/+="), ("t3", None), "t4"])
    auth = CustomAuth(token_key_name="k", token=anything(lambda: next(pairs)))
    assert auth.query() == f"{SIGNED}=c2ln&k=t1"
    assert auth.headers() == {SIGNED: "+/+=", "k": "t2"}
    assert auth.query() == "k=t3"
    assert auth.query() == "k=t4"


def test_each_fresh_token_is_signed_anew() -> None:
    pytest.importorskip("cryptography")
    from iotwire.custom_auth import TokenSigner, verify_token

    tokens = iter([token for token, _ in SIGNATURES["rsa-2048"]])
    auth = CustomAuth("Door", token_key_name=KEY, token=lambda: next(tokens), signer=TokenSigner(pem("rsa-2048.key")))
    for token, signature in SIGNATURES["rsa-2048"]:
        found = dict(parse_qsl(auth.mqtt_username().partition("?")[2]))
        assert found == {NAME: "Door", SIGNED: signature, KEY: token}
        assert verify_token(pem("rsa-2048.pem"), found[KEY], found[SIGNED])


def test_a_constant_token_is_signed_once() -> None:
    pytest.importorskip("cryptography")
    from iotwire.custom_auth import TokenSigner

    auth = CustomAuth("Door", token_key_name=KEY, token=TOKEN, signer=TokenSigner(pem("rsa-2048.key")))
    assert auth.headers() == {NAME: "Door", SIGNED: SIGNATURE, KEY: TOKEN}
    assert auth.mqtt_username() is auth.mqtt_username()


def test_an_error_of_the_callable_is_a_credentials_error_over_its_own() -> None:
    def fail() -> str:
        raise OSError("the token service is away")

    auth = CustomAuth(token_key_name="k", token=fail)
    for form in (auth.mqtt_username, auth.query, auth.headers):
        with pytest.raises(CredentialsError, match=r"^token: the callable that supplies it raised OSError$") as caught:
            form()
        assert isinstance(caught.value.__cause__, OSError)

    def refuse() -> str:
        raise CredentialsError("the device is not enrolled")

    with pytest.raises(CredentialsError, match=r"^the device is not enrolled$"):
        CustomAuth(token_key_name="k", token=refuse).query()

    def interrupt() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CustomAuth(token_key_name="k", token=interrupt).query()


@pytest.mark.parametrize("supplied", [None, b"t", 7, ["t", "c2ln"], ("t",), ("t", "c2ln", "x"), (b"t", "c2ln"), ""])
def test_a_callable_that_returns_no_token_is_refused(supplied: object) -> None:
    auth = CustomAuth(token_key_name="k", token=anything(lambda: supplied))
    for form in (auth.mqtt_username, auth.query, auth.headers):
        with pytest.raises(CredentialsError, match=r"^token: (its callable must return|must not be empty)"):
            form()


def test_a_pair_from_a_callable_contradicts_a_signer() -> None:
    pytest.importorskip("cryptography")
    from iotwire.custom_auth import TokenSigner

    signer = TokenSigner(pem("rsa-2048.key"))
    auth = CustomAuth(token_key_name="k", token=lambda: ("t", "c2ln"), signer=signer)
    with pytest.raises(CredentialsError, match=r"^token: its callable must return a str, not tuple"):
        auth.query()


def test_threads_share_one_and_each_gets_a_token_of_its_own(frequent_thread_switches: None) -> None:
    numbers = count()
    auth = CustomAuth("Door", token_key_name="k", token=lambda: f"{next(numbers):06d}+", username="pi")
    found: list[str] = []

    def work() -> None:
        mine = [auth.mqtt_username() for _ in range(500)]
        found.extend(mine)

    run_together(*[work] * 4)
    assert sorted(found) == [f"pi?{NAME}=Door&k={number:06d}%2B" for number in range(2000)]


# ---- what is refused

REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "an empty name": (lambda: CustomAuth(""), "authorizer_name: 1 to 128 characters of A-Za-z0-9_=,@-"),
    "a long name": (lambda: CustomAuth("n" * 129), "authorizer_name: 1 to 128"),
    "a name with a space": (lambda: CustomAuth("my door"), "authorizer_name: 1 to 128"),
    "a name with a letter that is not ASCII": (lambda: CustomAuth("Tür"), "authorizer_name: 1 to 128"),
    "a name with a digit that is not ASCII": (lambda: CustomAuth("door٣"), "authorizer_name: 1 to 128"),
    "a name with a line feed at its end": (lambda: CustomAuth("door\n"), "authorizer_name: 1 to 128"),
    "a name of bytes": (lambda: CustomAuth(anything(b"door")), "authorizer_name: 1 to 128"),
    "an empty key name": (lambda: CustomAuth(token_key_name="", token="t"), "token_key_name: 1 to 128"),
    "a long key name": (lambda: CustomAuth(token_key_name="k" * 129, token="t"), "token_key_name: 1 to 128"),
    "a key name with =": (lambda: CustomAuth(token_key_name="k=", token="t"), "token_key_name: 1 to 128"),
    "a key name with @": (lambda: CustomAuth(token_key_name="k@", token="t"), "token_key_name: 1 to 128"),
    "a key name with a line feed": (lambda: CustomAuth(token_key_name="k\n", token="t"), "token_key_name: 1 to 128"),
    "a key name of the service": (lambda: CustomAuth(token_key_name=NAME.title(), token="t"), "token_key_name: X-Amz"),
    "the other one": (lambda: CustomAuth(token_key_name=SIGNED, token="t"), "token_key_name: x-amz-customauthorizer-s"),
    "a token without a key name": (lambda: CustomAuth("Door", token="t"), "token_key_name: a token is given, but not"),
    "a callable without one": (lambda: CustomAuth("Door", token=lambda: "t"), "token_key_name: a token is given"),
    "a key name without a token": (lambda: CustomAuth("Door", token_key_name=KEY), "token_key_name: given without a t"),
    "a signature without a token": (lambda: CustomAuth("Door", token_signature="c2ln"), "token_signature: given wit"),
    "a signature and a key name": (
        lambda: CustomAuth(token_key_name=KEY, token_signature="c2ln"),
        "token_signature: given without a token",
    ),
    "a signature for a callable": (
        lambda: CustomAuth(token_key_name=KEY, token=lambda: "t", token_signature="c2ln"),
        "token_signature: one signature does not fit every token of a callable",
    ),
    "a signer that is none": (
        lambda: CustomAuth(token_key_name=KEY, token="t", signer=anything("-----BEGIN")),
        "signer: a TokenSigner is expected, not str",
    ),
    "an empty token": (lambda: CustomAuth(token_key_name=KEY, token=""), "token: must not be empty"),
    "a token of bytes": (
        lambda: CustomAuth(token_key_name=KEY, token=anything(b"t")),
        "token: a str or a callable that returns one is expected, not bytes",
    ),
    "a token with a surrogate": (
        lambda: CustomAuth(token_key_name=KEY, token="\ud800"),
        "token: must not hold a surrogate",
    ),
    "a user with ?": (lambda: CustomAuth("Door", username="pi?"), "username: must hold neither `?`"),
    "a user with U+0000": (lambda: CustomAuth("Door", username="p\0"), "username: must hold neither `?`"),
    "a user with a surrogate": (lambda: CustomAuth("Door", username="\udfff"), "username: must not hold a surrogate"),
    "a user that is too long": (lambda: CustomAuth("Door", username="u" * 65535), "username: takes 65536 bytes"),
    "a user of bytes": (lambda: CustomAuth("Door", username=anything(b"pi")), "username: str is expected, not bytes"),
    "no user": (lambda: CustomAuth("Door", username=anything(None)), "username: str is expected, not NoneType"),
    "a long password": (lambda: CustomAuth("Door", password=b"p" * 65536), "password: has 65536 bytes; at most 65535"),
    "a password with a surrogate": (lambda: CustomAuth("Door", password="\ud800"), "password: must not hold a surrog"),
    "a password of numbers": (lambda: CustomAuth("Door", password=anything([1])), "password: str or bytes is expected"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_mistake_is_refused_and_the_argument_named(mistake: str) -> None:
    call, message = REFUSED[mistake]
    with pytest.raises(CredentialsError) as caught:
        call()
    assert str(caught.value).startswith(message)


def test_a_signature_and_a_signer_contradict_each_other() -> None:
    pytest.importorskip("cryptography")
    from iotwire.custom_auth import TokenSigner

    signer = TokenSigner(pem("rsa-2048.key"))
    with pytest.raises(CredentialsError, match=r"^token_signature: either a signature or a signer is expected"):
        CustomAuth(token_key_name=KEY, token="t", token_signature="c2ln", signer=signer)
    for arguments in ({}, {"token_key_name": KEY}):
        with pytest.raises(CredentialsError, match=r"^signer: given without a token"):
            CustomAuth("Door", signer=signer, **anything(arguments))


SIGNATURES_REFUSED = {
    "wrapped": (SIGNATURE[:64] + "\n" + SIGNATURE[64:], "token_signature: base64 on one line is expected"),
    "with a line feed at its end": (SIGNATURE + "\n", "token_signature: base64 on one line is expected"),
    "with a space": ("c2 n", "token_signature: base64 on one line is expected"),
    "encoded already": ("a%2Fb%3D", "token_signature: is percent-encoded already"),
    "base64url": ("a-b_", "token_signature: is base64url"),
    "with too many =": ("c2ln===", "token_signature: standard base64 is expected"),
    "with = inside": ("c2=ln", "token_signature: standard base64 is expected"),
    "of = alone": ("==", "token_signature: standard base64 is expected"),
    "empty": ("", "token_signature: standard base64 is expected"),
    "not ASCII": ("c2lñ", "token_signature: standard base64 is expected"),
    "of bytes": (b"c2ln", "token_signature: str is expected, not bytes"),
}


@pytest.mark.parametrize("mistake", SIGNATURES_REFUSED)
def test_a_signature_that_is_not_base64_on_one_line_is_refused(mistake: str) -> None:
    signature, message = SIGNATURES_REFUSED[mistake]
    with pytest.raises(CredentialsError, match=f"^{message}"):
        CustomAuth(token_key_name=KEY, token="t", token_signature=anything(signature))
    supplied = CustomAuth(token_key_name=KEY, token=anything(lambda: ("t", signature)))
    for form in (supplied.mqtt_username, supplied.query, supplied.headers):
        with pytest.raises(CredentialsError, match=f"^{message}"):
            form()


@pytest.mark.parametrize(
    "token",
    ["t\r\nx-evil: 1", "t\n", "\rt", "t\0", "a\tb", "a\x7fb", "ü", "\x85", " t", "t ", "\u2028", "\N{NO-BREAK SPACE}"],
)
def test_a_header_carries_no_token_that_would_end_or_change_it(token: str) -> None:
    auth = CustomAuth(token_key_name=KEY, token=token)
    with pytest.raises(CredentialsError, match=r"^token: a header carries printable ASCII alone"):
        auth.headers()
    assert unquote(auth.query()) == f"{KEY}={token}"  # where there is no such limit
    with pytest.raises(CredentialsError, match=r"^token: a header carries"):
        CustomAuth(token_key_name=KEY, token=lambda: token).headers()


@pytest.mark.parametrize(
    "key", ["Host", "content-length", "Transfer-Encoding", "CONNECTION", "upgrade", "Sec-WebSocket-Key", "Expect"]
)
def test_a_token_never_takes_the_place_of_a_header_that_http_needs(key: str) -> None:
    auth = CustomAuth(token_key_name=key, token="t")
    with pytest.raises(CredentialsError, match=rf"^token_key_name: {key} is a header of HTTP itself"):
        auth.headers()
    assert auth.query() == f"{key}=t"


def test_it_cannot_be_changed() -> None:
    auth = CustomAuth("Door", token_key_name=KEY, token="t")
    for name in ("authorizer_name", "token_key_name", "username", "password", "token"):
        with pytest.raises(AttributeError):
            setattr(auth, name, "other")


def test_a_route_knows_what_it_is() -> None:
    endpoint = Endpoint("a1b2c3-ats.iot.eu-central-1.amazonaws.com")
    auth = CustomAuth("Door")
    with pytest.raises(RouteError, match=r"does not accept MQTT, custom authorizer, port 8883"):
        endpoint.route("mqtt", auth, port=8883)
    with pytest.raises(RouteError, match=r"does not accept HTTPS, custom authorizer, port 8443"):
        endpoint.route("https", auth, port=8443)


# ---- secrets

SECRET = "hunter2-s3cret"
SPELLINGS = (SECRET, SECRET.encode().hex(), repr(SECRET)[1:-1], quote(SECRET + "/", safe=""))


def shows_secret(text: str) -> bool:
    return any(spelling in text for spelling in SPELLINGS)


HOLDERS: dict[str, tuple[CustomAuth, str]] = {
    "a token and its signature": (
        CustomAuth("Door", token_key_name=KEY, token=SECRET, token_signature="hunter2+s3cret"),
        "CustomAuth('Door', token_key_name='TokenKeyName', token=***, token_signature=***)",
    ),
    "a token of a callable": (
        CustomAuth(token_key_name=KEY, token=lambda: SECRET),
        "CustomAuth(token_key_name='TokenKeyName', token=***)",
    ),
    "a password": (
        CustomAuth("Door", username="pi", password=SECRET),
        "CustomAuth('Door', username='pi', password=***)",
    ),
    "a password of bytes": (CustomAuth(password=SECRET.encode()), "CustomAuth(password=***)"),
    "none": (CustomAuth(), "CustomAuth()"),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_repr_masks_token_signature_and_password(holder: str) -> None:
    auth, shown = HOLDERS[holder]
    for text in (repr(auth), str(auth), f"{auth}"):
        assert text == shown
    assert not hasattr(auth, "__dict__")


MISTAKES: dict[str, Callable[[], object]] = {
    "a token without a key name": lambda: CustomAuth("Door", token=SECRET),
    "a token that is too long": lambda: CustomAuth(token_key_name=KEY, token=SECRET * 10_000),
    "a token with a surrogate": lambda: CustomAuth(token_key_name=KEY, token=SECRET + "\ud800"),
    "a token with a line feed": lambda: CustomAuth(token_key_name=KEY, token=SECRET + "\n").headers(),
    "a token that is not ASCII": lambda: CustomAuth(token_key_name=KEY, token=SECRET + "é").headers(),
    "a token of bytes": lambda: CustomAuth(token_key_name=KEY, token=anything(SECRET.encode())),
    "a supplied token of bytes": lambda: CustomAuth(token_key_name=KEY, token=anything(SECRET.encode)).query(),
    "a supplied token, a surrogate": lambda: CustomAuth(token_key_name=KEY, token=lambda: SECRET + "\udfff").query(),
    "a signature with a line feed": lambda: CustomAuth(token_key_name=KEY, token="t", token_signature=SECRET + "\n"),
    "a signature in base64url": lambda: CustomAuth(token_key_name=KEY, token="t", token_signature=SECRET),
    "a signature, a surrogate": lambda: CustomAuth(token_key_name="k", token="t", token_signature=SECRET + "\udfff"),
    "a signature without a token": lambda: CustomAuth("Door", token_signature=SECRET),
    "a password with a surrogate": lambda: CustomAuth(password=SECRET + "\ud800"),
    "a password that is too long": lambda: CustomAuth(password=SECRET * 10_000),
    "a password of a list": lambda: CustomAuth(password=anything([SECRET])),
    "a password beside a bad name": lambda: CustomAuth("a b", password=SECRET),
    "a signer that is a key": lambda: CustomAuth(token_key_name=KEY, token="t", signer=anything(SECRET)),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_error_shows_no_secret(mistake: str) -> None:
    with pytest.raises(IotwireError) as caught:
        MISTAKES[mistake]()
    error: BaseException | None = caught.value
    assert not shows_secret("\n".join(traceback.format_exception_only(caught.value)))
    while error is not None:
        assert not shows_secret(f"{error!s} {error!r} {error.args!r} {vars(error)!r}"), type(error)
        error = error.__cause__ or error.__context__


KEY_MISTAKES = {
    "a password": lambda make: make(pem("rsa-2048.key"), SECRET),
    "another password": lambda make: make(pem("rsa-2048.encrypted.key"), SECRET),
    "a key that is damaged": lambda make: make(pem("rsa-2048.key").replace(b"\nM", f"\n{SECRET}M".encode())),
    "a key on one line": lambda make: make(f"-----BEGIN PRIVATE KEY----- {SECRET} -----END PRIVATE KEY-----"),
    "a key of another kind": lambda make: make(f"-----BEGIN {SECRET} PRIVATE KEY-----\n\n"),
    "a key without its frame": lambda make: make(SECRET),
}  # fmt: skip


@pytest.mark.parametrize("mistake", KEY_MISTAKES)
def test_an_error_shows_nothing_of_a_key(mistake: str) -> None:
    pytest.importorskip("cryptography")
    from iotwire.custom_auth import TokenSigner

    with pytest.raises(CredentialsError) as caught:
        KEY_MISTAKES[mistake](TokenSigner)
    error: BaseException | None = caught.value
    while error is not None:
        assert not shows_secret(f"{error!s} {error!r} {error.args!r} {vars(error)!r}"), type(error)
        error = error.__cause__ or error.__context__


# ---- what it costs


def test_it_loads_neither_cryptography_nor_ssl_nor_asyncio() -> None:
    program = (
        "import sys, iotwire.custom_auth as module\n"
        "module.CustomAuth('Door', token_key_name='k', token='t', token_signature='c2ln').headers()\n"
        "print(*sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True)
    loaded = {module.partition(".")[0] for module in printed.stdout.split()}
    assert "iotwire" in loaded
    assert not loaded & {"asyncio", "cryptography", "socket", "ssl"}


def test_a_form_leaves_nothing_behind() -> None:
    good = CustomAuth("Door", token_key_name=KEY, token=lambda: (f"{TOKEN}ü", SIGNATURE), username="pi")
    bad = CustomAuth("Door", token_key_name=KEY, token=lambda: "\ud800", username="pi")

    def turns(number: int) -> None:
        for _ in range(number):
            good.mqtt_username()
            good.query()
            with contextlib.suppress(CredentialsError):
                bad.query()

    turns(10)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        turns(1000)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 16_384  # sixteen bytes for each turn would be as much
    finally:
        tracemalloc.stop()
