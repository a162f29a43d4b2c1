"""How a command proves who it is: the options of certificates, signatures and custom authorizers.

Nothing that is secret is taken from an argument, which every user of the machine can read: files and environment
variables hold keys, passwords and tokens. Options that people may try nevertheless are refused with the way that works.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ..credentials import X509, SigV4
from ..errors import CredentialsError
from .arguments import aws_region
from .secrets import RefuseSecret, read_file, read_secret
from .settings import setting

if TYPE_CHECKING:
    from ..credentials import CredentialsProvider
    from ..custom_auth import CustomAuth

__all__ = [
    "add_certificate_arguments",
    "add_credentials_arguments",
    "add_custom_arguments",
    "check_stdin",
    "guess_authentication",
    "make_auth",
    "make_certificate",
    "make_provider",
    "named_authentication",
    "read_password",
    "read_username",
]

# Options that show on the command line which of the three is meant.
SIGV4_OPTIONS = ("profile", "role_alias")
CUSTOM_OPTIONS = (
    "authorizer_name", "token_key_name", "token_file", "token_signature_file", "signing_key", "place",
)  # fmt: skip
SECRET_FILES = (
    "key_password_file", "password_file", "token_file", "token_signature_file", "signing_key",
    "signing_key_password_file",
)  # fmt: skip
CUSTOM_VARIABLES = ("IOTWIRE_AUTHORIZER", "IOTWIRE_TOKEN")


def add_certificate_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("certificates")
    group.add_argument("--cert", metavar="FILE", help="the device's certificate, PEM or DER (IOTWIRE_CERT)")
    group.add_argument("--key", metavar="FILE", help="its private key (IOTWIRE_KEY)")
    group.add_argument(
        "--key-password-file", metavar="FILE", help="what the key is encrypted with (IOTWIRE_KEY_PASSWORD itself)"
    )
    group.add_argument(
        "--cafile",
        "--ca",
        metavar="FILE",
        help="the server's authority (IOTWIRE_CA; default: those that the system trusts)",
    )
    group.add_argument(
        "--key-password", action=RefuseSecret, instead="set IOTWIRE_KEY_PASSWORD, or give --key-password-file"
    )


def add_credentials_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the credentials of Signature Version 4 come from."""
    group = parser.add_argument_group(
        "Signature Version 4",
        "Credentials come, as in AWS's own tools, from the environment (AWS_ACCESS_KEY_ID ...), the shared files, a "
        "container's endpoint or the metadata service of EC2; or, for a role alias, from AWS IoT itself.",
    )
    group.add_argument("--profile", metavar="NAME", help="of the shared files (AWS_PROFILE)")
    group.add_argument(
        "--region", type=aws_region, metavar="NAME", help="where the name of the endpoint does not tell it (AWS_REGION)"
    )
    group.add_argument("--role-alias", metavar="NAME", help="exchange the certificate for the credentials of a role")
    group.add_argument("--credentials-endpoint", metavar="HOST", help="who does that: ID.credentials.iot.REGION...")
    group.add_argument("--thing-name", metavar="NAME", help="the thing of the certificate, where policies use it")
    for option in ("--access-key-id", "--secret-access-key", "--session-token"):
        variable = f"AWS_{option[2:].replace('-', '_').upper()}"
        group.add_argument(option, action=RefuseSecret, instead=f"set {variable}, or use a profile")


def add_custom_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("custom authorizers")
    group.add_argument("--authorizer-name", metavar="NAME", help="(IOTWIRE_AUTHORIZER; default: the endpoint's)")
    group.add_argument(
        "--token-key-name", metavar="NAME", help="what the authorizer calls its token (IOTWIRE_TOKEN_KEY_NAME)"
    )
    group.add_argument(
        "--token-file", metavar="FILE", help="the token, read again for each connection (IOTWIRE_TOKEN itself)"
    )
    group.add_argument(
        "--token-signature-file", metavar="FILE", help="its signature, likewise (IOTWIRE_TOKEN_SIGNATURE itself)"
    )
    group.add_argument(
        "--signing-key", metavar="FILE", help="or the private key to sign it with, PEM (IOTWIRE_SIGNING_KEY)"
    )
    group.add_argument(
        "--signing-key-password-file",
        metavar="FILE",
        help="what that key is encrypted with (IOTWIRE_SIGNING_KEY_PASSWORD itself)",
    )
    group.add_argument(
        "--place",
        choices=("headers", "query", "connect"),
        help="where the token goes, over wss and https (default: headers)",
    )
    for option, variable in (("--token", "IOTWIRE_TOKEN"), ("--token-signature", "IOTWIRE_TOKEN_SIGNATURE")):
        group.add_argument(option, action=RefuseSecret, instead=f"set {variable}, or give {option}-file")


def check_stdin(options: argparse.Namespace, other: str | None = None) -> None:
    """Leave with a usage error where the standard input is to be more than one thing, for it has one content.

    other: what it is to be beside the files that hold secrets, such as "message".
    """
    files = [getattr(options, name, None) for name in SECRET_FILES]
    if files.count("-") + (other is not None) > 1:
        one = "one secret" if other is None else f"one thing, {other} or secret"
        options.parser.error(f"the standard input can be {one}")


def make_certificate(options: argparse.Namespace) -> X509 | None:
    """The device's certificate; None where neither it nor its key is named. Raises CredentialsError."""
    cert, key = setting(options.cert, "IOTWIRE_CERT"), setting(options.key, "IOTWIRE_KEY")
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        option, variable = ("--cert", "IOTWIRE_CERT") if cert is None else ("--key", "IOTWIRE_KEY")
        raise CredentialsError(f"{option}: is missing; give it, or set {variable}")
    password = read_secret(options.key_password_file, "--key-password-file", "IOTWIRE_KEY_PASSWORD")
    return X509(cert, key, password=password, ca=setting(options.cafile, "IOTWIRE_CA"))


def named_authentication(options: argparse.Namespace) -> str | None:
    """Which of "sigv4" and "custom" options on the command line are for, if there are any."""
    for kind, names in (("custom", CUSTOM_OPTIONS), ("sigv4", SIGV4_OPTIONS)):
        if any(getattr(options, name) for name in names):
            return kind
    return None


def guess_authentication(options: argparse.Namespace, protocol: str | None) -> str:
    """Which of "x509", "sigv4" and "custom" is meant: what is said, else what there are means for.

    Leaves with a usage error where there are none.
    """
    if options.auth:
        return str(options.auth)
    if named := named_authentication(options):
        return named
    has_custom = any(os.environ.get(variable) for variable in CUSTOM_VARIABLES)
    has_certificate = bool(setting(options.cert, "IOTWIRE_CERT") or setting(options.key, "IOTWIRE_KEY"))
    if protocol == "wss":  # which takes no certificate
        return "custom" if has_custom else "sigv4"
    if has_certificate:
        return "x509"
    if has_custom:
        return "custom"
    if protocol != "https":
        options.parser.error(
            "how to prove who this is? Give --cert and --key; or --auth sigv4 for credentials of AWS; or "
            "--authorizer-name or --token-key-name for a custom authorizer"
        )
    return "sigv4"


def make_auth(options: argparse.Namespace, kind: str, way: Mapping[str, Any]) -> X509 | SigV4 | CustomAuth:
    """What `Endpoint.route` takes. Raises CredentialsError, which names the option that is missing or wrong.

    way: by which AWS IoT is asked for credentials: proxy, interface and source_address, as of `Endpoint.route`.
    """
    if kind == "sigv4":
        return SigV4(make_provider(options, way))
    if kind == "custom":
        return _make_custom(options)
    certificate = make_certificate(options)
    if certificate is None:
        raise CredentialsError("--cert: no certificate; give --cert and --key, or set IOTWIRE_CERT and IOTWIRE_KEY")
    return certificate


def make_provider(options: argparse.Namespace, way: Mapping[str, Any]) -> CredentialsProvider:
    """Where the credentials of a signature come from. way: as of `make_auth`."""
    from ..credentials import IotCredentials, ProviderChain

    if options.role_alias is None:
        if options.credentials_endpoint or options.thing_name:
            raise CredentialsError("--role-alias: --credentials-endpoint and --thing-name need the name of one")
        return ProviderChain(profile=options.profile)
    certificate = make_certificate(options)
    if certificate is None or options.credentials_endpoint is None:
        raise CredentialsError("--role-alias: needs --credentials-endpoint, --cert and --key")
    return IotCredentials(
        options.credentials_endpoint, options.role_alias, certificate, thing_name=options.thing_name, **way
    )


def _make_custom(options: argparse.Namespace) -> CustomAuth:
    from ..custom_auth import CustomAuth, TokenSigner

    signer = None
    if key := setting(options.signing_key, "IOTWIRE_SIGNING_KEY"):
        password = read_secret(
            options.signing_key_password_file, "--signing-key-password-file", "IOTWIRE_SIGNING_KEY_PASSWORD"
        )
        signer = TokenSigner(read_file(key, "--signing-key"), password)
    token, signature = _read_token(options), None if signer is not None else _read_signature(options)
    given: str | Callable[[], str | tuple[str, str]] | None = token
    if options.token_file and "-" not in (options.token_file, options.token_signature_file):
        # Read again for each attempt: a token that somebody renews there is used by the next connection.
        has_signature, signature = signature is not None, None
        given = partial(_read_token_again, options, has_signature=has_signature)
    return CustomAuth(
        setting(options.authorizer_name, "IOTWIRE_AUTHORIZER"),
        token_key_name=None if given is None else setting(options.token_key_name, "IOTWIRE_TOKEN_KEY_NAME"),
        token=given,
        token_signature=signature,
        signer=None if given is None else signer,
        username=read_username(options) or "",
        password=read_password(options),
    )


def _read_token(options: argparse.Namespace) -> str | None:
    return read_secret(options.token_file, "--token-file", "IOTWIRE_TOKEN")


def _read_token_again(options: argparse.Namespace, *, has_signature: bool) -> str | tuple[str, str]:
    token = _read_token(options) or ""
    return (token, _read_signature(options) or "") if has_signature else token


def _read_signature(options: argparse.Namespace) -> str | None:
    return read_secret(options.token_signature_file, "--token-signature-file", "IOTWIRE_TOKEN_SIGNATURE")


def read_username(options: argparse.Namespace) -> str | None:
    """The MQTT user name."""
    return options.username if options.username is not None else os.environ.get("IOTWIRE_USERNAME") or None


def read_password(options: argparse.Namespace) -> str | None:
    """The MQTT password."""
    return read_secret(options.password_file, "--password-file", "IOTWIRE_PASSWORD")
