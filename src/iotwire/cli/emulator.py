"""`iotwire emulator`: a local endpoint in the foreground, with certificates in a folder and ways to connect to it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from .. import __version__
from ..emulator import Emulator
from ..endpoint import ROUTES
from ..errors import RouteError
from ..route import AUTHENTICATION_NAMES, PROTOCOL_NAMES
from .arguments import Commands, wrapped
from .brokers import BROKER_VARIABLES, add_broker_arguments, make_broker
from .recipes import CREDENTIALS, Door, Recipes
from .terminal import Style, print_fact

__all__ = ["add_parser", "run"]

FOLDER = "iotwire-emulator"


def add_parser(commands: Commands) -> None:
    parser = commands.add_parser(
        "emulator",
        help="run a local endpoint, for work without a network",
        description=wrapped(
            "Run a local endpoint of AWS IoT Core in the foreground, until Ctrl-C. Certificates, and ways to connect "
            "with them, are written into a folder, and used again by the next start while they are valid."
        ),
        epilog=f"environment variables:\n{BROKER_VARIABLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--folder", type=Path, default=Path(FOLDER), metavar="DIR", help=f"where to write (default: ./{FOLDER})"
    )
    parser.add_argument("--host", metavar="NAME", help="the endpoint's name, which clients send as SNI")
    parser.add_argument(
        "--port",
        type=_read_port_pair,
        action="append",
        default=[],
        metavar="SERVICE=LOCAL",
        help="the local port for one of the service's, such as 8883=8883; free ports otherwise",
    )
    parser.add_argument(
        "--address",
        action="append",
        metavar="ADDRESS",
        help="what to listen on, such as 0.0.0.0; may be repeated (default: 127.0.0.1 and ::1)",
    )
    parser.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="NAME",
        help="a device to make a certificate for, beside the one called device; may be repeated",
    )
    parser.add_argument(
        "--authorizer",
        type=_read_authorizer,
        metavar="NAME=MODULE:FUNCTION",
        help="a custom authorizer, the default one: a function in place of AWS Lambda, of a module in this folder or "
        "of one that is installed",
    )
    parser.add_argument(
        "--token-key-name", metavar="NAME", help="what the authorizer calls its token; needed with --public-key"
    )
    parser.add_argument(
        "--public-key",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="of the keys that tokens are signed with (PEM); may be repeated (default: signing is disabled)",
    )
    add_broker_arguments(parser)
    parser.set_defaults(run=run)


def _read_authorizer(text: str) -> tuple[str, str, str]:
    name, separator, place = text.partition("=")
    module, colon, function = place.partition(":")
    if not (separator and colon and name and module and function):
        raise argparse.ArgumentTypeError("a name and a function such as gate=my_module:authorize are expected")
    return name, module, function


def _add_authorizer(emulator: Emulator, options: argparse.Namespace) -> None:
    if options.authorizer is None:
        return
    name, module, function = options.authorizer
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise RouteError(f"--authorizer: {module}:{function} cannot be imported: {error}") from error
    finally:
        sys.path.pop(0)
    try:
        keys = [path.read_bytes() for path in options.public_key]
    except OSError as error:
        raise RouteError(f"--public-key: cannot read {error.filename}: {error.strerror}") from error
    emulator.add_authorizer(
        name,
        found,
        token_key_name=options.token_key_name,
        public_keys=keys,
        signing_disabled=not keys,
        is_default=True,
    )


def _door_of(options: argparse.Namespace) -> Door | None:
    """What those who come to the authorizer have to bring."""
    if options.authorizer is None:
        return None
    return Door(options.authorizer[0], options.token_key_name, bool(options.public_key))


def _read_port_pair(text: str) -> tuple[int, int]:
    service, separator, local = text.partition("=")
    digits = service + local
    if not (separator and service and local and digits.isascii() and digits.isdecimal() and int(local) <= 65535):
        raise argparse.ArgumentTypeError(f"two ports such as 8883=18883 are expected, not {text}")
    return int(service), int(local)


def run(options: argparse.Namespace) -> int:
    named = {} if options.host is None else {"host": options.host}
    ports = {row.port: 0 for row in ROUTES} | dict(options.port)
    emulator = Emulator(
        ports=ports,
        addresses=options.address or ("127.0.0.1", "::1"),
        folder=options.folder,
        broker=make_broker(options),
        **named,
    )
    _add_authorizer(emulator, options)
    with _shown_log():
        return asyncio.run(_serve(emulator, options))


@contextlib.contextmanager
def _shown_log() -> Iterator[None]:
    """Who connects, who is refused, and why: what somebody who tries to connect needs to see."""
    log = logging.getLogger("iotwire.emulator")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("  %(asctime)s  %(message)s", "%H:%M:%S"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def _credentials_file(emulator: Emulator) -> str:
    """What a signature may be made with, as the SDKs of AWS read it."""
    [found] = emulator.credentials
    return (
        f"[default]\naws_access_key_id = {found.access_key_id}\n"
        f"aws_secret_access_key = {found.secret_access_key}\nregion = {emulator.region}\n"
    )


async def _serve(emulator: Emulator, options: argparse.Namespace) -> int:
    style = Style.of_terminal()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    async with emulator:
        recipes = Recipes.of(emulator, _door_of(options))
        for name in options.device:
            emulator.issue_device(name)
        emulator.write_file(CREDENTIALS, _credentials_file(emulator), is_secret=True)
        written = [emulator.write_file(name, text) for name, text in recipes.files().items()]
        print(style.strong(f"iotwire {__version__}: a local endpoint of AWS IoT Core"))
        print()
        print_fact(style, "endpoint", emulator.host)
        print_fact(style, "addresses", ", ".join(emulator.addresses))
        for service, local in emulator.ports.items():
            for row in ROUTES:
                if row.port == service:
                    alpn = f"ALPN {row.alpn}" if row.alpn else "no ALPN"
                    kind = f"{PROTOCOL_NAMES[row.protocol]}, {AUTHENTICATION_NAMES[row.authentication]}, {alpn}"
                    print_fact(style, f"port {service}", f"{local:<5}  row {row.number}: {kind}")
        if options.broker is not None:
            print_fact(style, "broker", f"{options.broker}, which has the messages")
        print_fact(style, "folder", str(written[0].parent))
        print_fact(style, "to connect", ", ".join(path.name for path in written))
        print_fact(style, "to sign", f"{CREDENTIALS} (AWS_SHARED_CREDENTIALS_FILE), region {emulator.region}")
        print()
        print(style.dim("  Ctrl-C ends it"), flush=True)
        await ended.wait()
        # Another Ctrl-C, while connections are closed, is not waited for.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        stats = emulator.stats()
    print()
    print_fact(style, "connections", f"{stats.accepted_connections} accepted, {stats.refused_connections} refused")
    print_fact(style, "messages", f"{stats.messages_received} received, {stats.messages_delivered} delivered")
    return 0
