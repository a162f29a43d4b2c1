"""`iotwire sign token`: a token's signature, or what a device sends with it to a custom authorizer."""

from __future__ import annotations

import argparse
import os

from ..custom_auth import CustomAuth, TokenSigner
from ..errors import CredentialsError
from .arguments import Commands
from .secrets import RefuseSecret, read_file, read_secret

__all__ = ["add_parser", "run"]

KEY, KEY_PASSWORD, TOKEN = "IOTWIRE_SIGNING_KEY", "IOTWIRE_SIGNING_KEY_PASSWORD", "IOTWIRE_TOKEN"

FORMS = ("signature", "username", "headers", "query")


def add_parser(kinds: Commands) -> None:
    parser = kinds.add_parser(
        "token",
        help="sign a token with the private key of a custom authorizer",
        description="Print the signature of a token (RSA PKCS #1 v1.5 with SHA-256, base64 on one line), or the user "
        "name, headers or query that a device sends with it.",
        epilog="A line end at the end of a file is not part of the token or of the password. Headers are one to a "
        "line, as `curl --header @FILE` reads them; user name and query are percent-encoded.",
        allow_abbrev=False,
    )
    parser.add_argument("--key", metavar="FILE", help=f"the private key as PEM (default: the file that {KEY} names)")
    parser.add_argument(
        "--key-password-file", metavar="FILE", help=f"what the key is encrypted with (default: {KEY_PASSWORD} itself)"
    )
    parser.add_argument(
        "--token-file", metavar="FILE", help=f"the token, `-` for the standard input (default: {TOKEN} itself)"
    )
    parser.add_argument("--form", choices=FORMS, default="signature", help="what to print (default: signature)")
    parser.add_argument("--authorizer-name", metavar="NAME", help="the authorizer (default: that of the endpoint)")
    parser.add_argument("--token-key-name", metavar="NAME", help="what the authorizer calls its token")
    parser.add_argument("--username", metavar="USER", default="", help="what the MQTT user name begins with")
    parser.add_argument("--token", action=RefuseSecret, instead=f"set {TOKEN}, or give --token-file")
    parser.add_argument(
        "--key-password", action=RefuseSecret, instead=f"set {KEY_PASSWORD}, or give --key-password-file"
    )
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    _check(options)
    path = options.key or os.environ.get(KEY)
    if not path:
        raise CredentialsError(f"--key: no private key; give its file, or name it in {KEY}")
    token = read_secret(options.token_file, "--token-file", TOKEN)
    if token is None:
        raise CredentialsError(f"--token-file: no token; give its file, or set {TOKEN}")
    password = read_secret(options.key_password_file, "--key-password-file", KEY_PASSWORD)
    signer = TokenSigner(read_file(path, "--key"), password)
    if options.form == "signature":
        print(signer.sign(token))
        return 0
    auth = CustomAuth(
        options.authorizer_name,
        token_key_name=options.token_key_name,
        token=token,
        signer=signer,
        username=options.username,
    )
    if options.form == "username":
        print(auth.mqtt_username())
    elif options.form == "query":
        print(auth.query())
    else:
        for name, value in auth.headers().items():
            print(f"{name}: {value}")
    return 0


def _check(options: argparse.Namespace) -> None:
    """Refuse options that the chosen form has no place for, and a form that lacks one."""
    parser: argparse.ArgumentParser = options.parser
    if options.form == "signature" and (options.authorizer_name or options.token_key_name):
        parser.error("--authorizer-name and --token-key-name have no place in a signature; choose another --form")
    if options.form != "username" and options.username:
        parser.error("--username is part of --form username alone")
    if options.form != "signature" and not options.token_key_name:
        parser.error(f"--token-key-name is needed for --form {options.form}")
    if [options.key, options.key_password_file, options.token_file].count("-") > 1:
        parser.error("the standard input can be one of key, password and token")
