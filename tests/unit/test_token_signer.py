"""Tokens signed and verified: openssl is the judge in both directions, and the keys are in all the clothes it knows."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoding import anything
from iotwire.custom_auth import CustomAuth, TokenSigner, TokenVerifier, verify_token
from iotwire.errors import CredentialsError
from racing import run_together
from tokens import FOLDER, KEY_PASSWORD, SIGNATURES, openssl, openssl_verifies, pem

pytest.importorskip("cryptography")

SIZES = ("rsa-2048", "rsa-3072", "rsa-4096")
TOKEN, SIGNATURE = SIGNATURES["rsa-2048"][1]
VECTORS = [
    pytest.param(name, token, signature, id=f"{name}-{number}")
    for name, pairs in SIGNATURES.items()
    for number, (token, signature) in enumerate(pairs)
]


# One of each for all tests: that they may be shared is what they promise, and parsing a large key takes its time.
SIGNERS = {name: TokenSigner(pem(f"{name}.key")) for name in SIZES}
SIGNER = SIGNERS["rsa-2048"]
VERIFIER = TokenVerifier(pem("rsa-2048.pem"))


# ---- against openssl


@pytest.mark.parametrize(("name", "token", "signature"), VECTORS)
def test_our_signature_is_the_one_that_openssl_makes(name: str, token: str, signature: str) -> None:
    assert SIGNERS[name].sign(token) == signature
    assert SIGNERS[name].sign(token.encode()) == signature


@pytest.mark.parametrize(("name", "token", "signature"), VECTORS)
def test_a_signature_that_openssl_made_is_verified(name: str, token: str, signature: str) -> None:
    public_key = pem(f"{name}.pem")
    assert verify_token(public_key, token, signature) is True
    assert verify_token(public_key.decode(), token.encode(), signature) is True
    others = [other for other in SIZES if other != name]
    assert not any(verify_token(pem(f"{other}.pem"), token, signature) for other in others)


@pytest.mark.parametrize("name", SIZES)
def test_openssl_verifies_what_we_sign(name: str, tmp_path: Path) -> None:
    for token in ("a", "ü" * 100, "x" * 6144, "token\r\nwith: a line\0"):
        raw = base64.b64decode(SIGNERS[name].sign(token), validate=True)
        assert openssl_verifies(FOLDER / f"{name}.pem", token.encode(), raw, tmp_path)
        assert not openssl_verifies(FOLDER / f"{name}.pem", token.encode() + b"\n", raw, tmp_path)


@pytest.mark.parametrize("name", SIZES)
def test_we_verify_what_openssl_signs(name: str) -> None:
    for token in (b"a", b"x" * 6144, bytes(range(256))):
        raw = openssl("dgst", "-sha256", "-sign", str(FOLDER / f"{name}.key"), stdin=token)
        one_line = openssl("base64", "-A", stdin=raw).decode()
        assert verify_token(pem(f"{name}.pem"), token, one_line)
        assert not verify_token(pem(f"{name}.pem"), token + b"\n", one_line)
        wrapped = openssl("base64", stdin=raw).decode()
        assert not verify_token(pem(f"{name}.pem"), token, wrapped)


# ---- keys


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("rsa-2048.key", None),
        ("rsa-2048.pkcs1.key", None),
        ("rsa-2048.encrypted.key", KEY_PASSWORD),
        ("rsa-2048.encrypted.key", KEY_PASSWORD.encode()),
        ("rsa-2048.pkcs1.encrypted.key", KEY_PASSWORD),
    ],
)
@pytest.mark.parametrize("dress", [bytes, bytes.decode, lambda text: text.replace(b"\n", b"\r\n")])
def test_one_key_in_any_clothes_makes_one_signature(
    name: str, password: str | bytes | None, dress: Callable[[bytes], str | bytes]
) -> None:
    assert TokenSigner(dress(pem(name)), password).sign(TOKEN) == SIGNATURE


@pytest.mark.parametrize("name", ["rsa-2048.pem", "rsa-2048.pkcs1.pem", "rsa-2048.certificate.pem"])
def test_a_public_key_and_a_certificate_that_has_long_expired_verify(name: str) -> None:
    assert verify_token(pem(name), TOKEN, SIGNATURE)
    assert not verify_token(pem(name), TOKEN + "x", SIGNATURE)


def damaged(name: str) -> bytes:
    lines = pem(name).splitlines(keepends=True)
    return b"".join([*lines[:5], *lines[6:]])


PRIVATE_KEYS_REFUSED = {
    "too short": (pem("rsa-1024.key"), None, "private_key_pem: an RSA key of at least 2048 bits is expected, not of 1"),
    "EC": (pem("ec.key"), None, r"private_key_pem: an RSA key is expected, .* this one is E"),
    "Ed25519": (pem("ed25519.key"), None, "private_key_pem: an RSA key is expected, .* this one is Ed25519"),
    "public": (pem("rsa-2048.pem"), None, "private_key_pem: a private key is expected, not a public key"),
    "certificate": (pem("rsa-2048.certificate.pem"), None, "private_key_pem: a private key is expected, not a public"),
    "encrypted, no password": (pem("rsa-2048.encrypted.key"), None, "password: the private key is encrypted, and no"),
    "encrypted PKCS #1, no password": (pem("rsa-2048.pkcs1.encrypted.key"), None, "password: the private key is encry"),
    "encrypted, another password": (pem("rsa-2048.encrypted.key"), "sesame", "password: does not open the private key"),
    "encrypted PKCS #1, another": (pem("rsa-2048.pkcs1.encrypted.key"), "sesame", "password: does not open"),
    "not encrypted": (pem("rsa-2048.key"), KEY_PASSWORD, "password: is given, but the private key is not encrypted"),
    "damaged": (damaged("rsa-2048.key"), None, "private_key_pem: cannot be read"),
    "cut off": (pem("rsa-2048.key")[:400], None, "private_key_pem: cannot be read"),
    "a path": ("/etc/keys/authorizer.key", None, "private_key_pem: the PEM text .* not the path of its file"),
    "empty": ("", None, "private_key_pem: the PEM text of a private key is expected"),
    "None": (None, None, "private_key_pem: str or bytes is expected, not NoneType"),
    "a path object": (Path("authorizer.key"), None, "private_key_pem: str or bytes is expected, not "),
    "surrogates": ("-----BEGIN PRIVATE KEY-----\ud800", None, "private_key_pem: must not hold a surrogate"),
    "a number as password": (pem("rsa-2048.encrypted.key"), 1234, "password: str or bytes is expected, not int"),
    "an empty password": (pem("rsa-2048.encrypted.key"), "", "password: must not be empty"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", PRIVATE_KEYS_REFUSED)
def test_a_private_key_that_cannot_be_used_is_refused_in_clear_words(mistake: str) -> None:
    key, password, message = PRIVATE_KEYS_REFUSED[mistake]
    with pytest.raises(CredentialsError, match=f"^{message}"):
        TokenSigner(anything(key), anything(password))


PUBLIC_KEYS_REFUSED = {
    "too short": (pem("rsa-1024.pem"), "public_key_pem: an RSA key of at least 2048 bits is expected, not of 1024"),
    "EC": (pem("ec.pem"), "public_key_pem: an RSA key is expected"),
    "a certificate of an EC key": (pem("ec.certificate.pem"), "public_key_pem: an RSA key is expected"),
    "Ed25519": (pem("ed25519.pem"), "public_key_pem: an RSA key is expected"),
    "private": (pem("rsa-2048.key"), "public_key_pem: a public key or a certificate is expected, not a private key"),
    "damaged": (damaged("rsa-2048.pem"), "public_key_pem: cannot be read"),
    "a damaged certificate": (damaged("rsa-2048.certificate.pem"), "public_key_pem: cannot be read"),
    "a path": ("authorizer.pem", "public_key_pem: the PEM text of a public key or of a certificate is expected"),
    "None": (None, "public_key_pem: str or bytes is expected, not NoneType"),
}


@pytest.mark.parametrize("mistake", PUBLIC_KEYS_REFUSED)
def test_a_public_key_that_cannot_be_used_is_refused_in_clear_words(mistake: str) -> None:
    key, message = PUBLIC_KEYS_REFUSED[mistake]
    with pytest.raises(CredentialsError, match=f"^{message}"):
        verify_token(anything(key), TOKEN, SIGNATURE)


def test_without_cryptography_an_error_says_what_to_install_and_forms_work_all_the_same() -> None:
    code = """
import sys
sys.modules["cryptography"] = None
from iotwire.custom_auth import CustomAuth, TokenSigner, verify_token
from iotwire.errors import CredentialsError
print(CustomAuth("Door", token_key_name="Key", token="t", token_signature="c2ln").mqtt_username())
for call in (lambda: TokenSigner("-----BEGIN PRIVATE KEY-----"), lambda: verify_token("", "t", "c2ln")):
    try:
        call()
    except CredentialsError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.stderr == ""
    form, *messages = done.stdout.splitlines()
    assert form == "?x-amz-customauthorizer-name=Door&x-amz-customauthorizer-signature=c2ln&Key=t"
    assert len(messages) == 2
    assert all("pip install iotwire[crypto]" in message for message in messages)


# ---- verdicts


@pytest.mark.parametrize(
    "bend",
    [
        lambda signature: "",
        lambda signature: "=",
        lambda signature: "====",
        lambda signature: signature[:64] + "\n" + signature[64:],
        lambda signature: signature + "\n",
        lambda signature: " " + signature,
        lambda signature: signature.rstrip("="),
        lambda signature: signature + "=",
        lambda signature: signature.replace("+", "-").replace("/", "_"),
        lambda signature: signature.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
        lambda signature: signature.replace("+", " "),
        lambda signature: signature[:-4],
        lambda signature: signature + signature,
        lambda signature: "AAAA" + signature,
        lambda signature: signature[:-3] + chr(ord(signature[-3]) + 1) + "==",  # decodes to the same bytes
        lambda signature: signature.lower(),
        lambda signature: "é" + signature[1:],
        lambda signature: "\ud800" + signature[1:],
        lambda signature: "\0" + signature[1:],
        lambda signature: base64.b64encode(bytes(256)).decode(),
        lambda signature: base64.b64encode(b"\xff" * 256).decode(),
    ],
)
def test_a_text_that_is_not_the_signature_is_false_and_no_error(bend: Callable[[str], str]) -> None:
    assert VERIFIER.verify(TOKEN, SIGNATURE)
    assert VERIFIER.verify(TOKEN, bend(SIGNATURE)) is False


def test_every_bit_of_the_token_and_of_the_signature_counts() -> None:
    token, raw = TOKEN.encode(), base64.b64decode(SIGNATURE)
    for at in range(len(token) * 8):
        bent = bytearray(token)
        bent[at // 8] ^= 1 << at % 8
        assert not VERIFIER.verify(bytes(bent), SIGNATURE)
    for at in range(0, len(raw) * 8, 7):  # each place within a byte
        bent = bytearray(raw)
        bent[at // 8] ^= 1 << at % 8
        assert not VERIFIER.verify(token, base64.b64encode(bent).decode())


def test_an_empty_token_is_signed_by_nobody_and_verified_by_nobody() -> None:
    for empty in ("", b""):
        with pytest.raises(CredentialsError, match=r"^token: must not be empty"):
            SIGNER.sign(empty)
        assert VERIFIER.verify(empty, SIGNATURE) is False


@pytest.mark.parametrize("token", [None, 1, bytearray(b"a"), ["a"]])
def test_a_token_that_is_no_text_is_the_callers_mistake(token: object) -> None:
    with pytest.raises(CredentialsError, match=r"^token: str or bytes is expected, not "):
        SIGNER.sign(anything(token))
    with pytest.raises(CredentialsError, match=r"^token: str or bytes is expected, not "):
        VERIFIER.verify(anything(token), SIGNATURE)
    with pytest.raises(CredentialsError, match=r"^signature: str is expected, not "):
        VERIFIER.verify("t", anything(token))


@given(st.one_of(st.text(st.characters(codec="utf-8"), min_size=1), st.binary(min_size=1)))
def test_what_is_signed_is_verified_and_on_one_line(token: str | bytes) -> None:
    signature = SIGNER.sign(token)
    assert len(signature) == 344
    assert base64.b64encode(base64.b64decode(signature, validate=True)).decode() == signature
    assert VERIFIER.verify(token, signature)
    raw = token if isinstance(token, bytes) else token.encode()
    assert not VERIFIER.verify(raw + b" ", signature)


# ---- threads


def test_threads_share_one_signer_and_one_verifier(frequent_thread_switches: None) -> None:
    tokens = [f"token-{number}" for number in range(8)]
    expected = {token: SIGNER.sign(token) for token in tokens}
    auth = CustomAuth("Door", token_key_name="Key", token=lambda: tokens[0], signer=SIGNER)

    def sign_and_verify(first: int) -> Callable[[], None]:
        def work() -> None:
            for turn in range(10):
                token, other = tokens[(first + turn) % len(tokens)], tokens[(first + turn + 1) % len(tokens)]
                assert SIGNER.sign(token) == expected[token]
                assert VERIFIER.verify(token, expected[token])
                assert not VERIFIER.verify(token, expected[other])
                assert auth.headers()["x-amz-customauthorizer-signature"] == expected[tokens[0]]

        return work

    run_together(*(sign_and_verify(first) for first in range(4)))


def test_a_signer_shows_its_size_and_nothing_else() -> None:
    assert repr(SIGNER) == "TokenSigner(***) of 2048 bits"
    assert repr(VERIFIER) == "TokenVerifier(...) of 2048 bits"
    assert not hasattr(SIGNER, "__dict__")
