"""Why a connection could not be made, or has ended, in words: what was tried, in which step, and what can be done."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from .._tls_tables import ALERTS as NAMES_OF_ALERTS
from ..clock import show_time
from ..errors import ConnectError
from ..route import Attempt, is_ip_literal, join_host_port
from .proxies import ProxyError
from .steps import Progress, UpgradeError

__all__ = ["MAY_BE_THE_CERTIFICATE", "alert_of", "describe_end", "describe_tls_error", "explaining"]

# TLS alerts by the names that OpenSSL has for them: with spaces, and one in its own spelling.
ALERTS = {name.replace("_", " "): number for number, name in NAMES_OF_ALERTS.items()} | {"user cancelled": 90}
ALERT_PREFIXES = ("tlsv1 alert ", "tlsv13 alert ", "sslv3 alert ", "tlsv1 ", "tlsv13 ", "sslv3 ")
OF_THE_CLIENT_CERTIFICATE = frozenset({41, 42, 43, 44, 45, 46, 48, 49, 116})
# What one can do about an alert that has nothing to do with certificates.
ADVICE = {
    40: "it accepts none of the TLS versions, ciphers or key types that this client offers, or wants a certificate",
    70: "it does not speak TLS 1.2 or 1.3",
    112: "it knows no endpoint of the name in SNI: is that the full name of the endpoint?",
    120: "it speaks none of the ALPN names that were offered: do port and alpn of the route fit together?",
}
# X509_V_ERR_... of OpenSSL.
OF_THE_DATES = frozenset({9, 10})
OF_THE_AUTHORITY = frozenset({2, 18, 19, 20, 21})
OF_THE_NAME = frozenset({62, 64})

# Where a server that was shown a certificate just closes: TLS 1.3 has no better word for it in time.
MAY_BE_THE_CERTIFICATE = " (servers that do not accept the client certificate do that)"
CLOSED = "the connection was closed in the handshake: does this port speak TLS, and does nothing on the way cut it off?"
# Ports that networks of plants and offices often block, and the one that they do not.
BLOCKED_PORTS = frozenset({8883, 8443})


@contextmanager
def explaining(attempt: Attempt, progress: Progress) -> Iterator[None]:
    """Tell as ConnectError what goes wrong with an attempt, in the step that `progress` is at."""
    try:
        yield
    except ProxyError as error:
        message = f"{_target(attempt)} opened no tunnel to {_place(attempt)}: {error}"
        raise ConnectError(message, step="proxy", http_status=error.status) from error
    except UpgradeError as error:
        message = f"{_place_and_address(attempt, progress)} opened no WebSocket: {error}"
        raise ConnectError(message, step="websocket", http_status=error.status, server_time=error.date) from error
    except ssl.SSLError as error:
        message = f"TLS with {_place_and_address(attempt, progress)} failed: {describe_tls_error(error)}"
        raise ConnectError(message, step="tls", alert=alert_of(error)) from error
    except TimeoutError as error:
        if error.errno and progress.step == "tcp":  # the operating system's ETIMEDOUT: every address has failed
            raise ConnectError(_describe_unreachable(attempt, progress, error), step="tcp") from error
        raise ConnectError(_describe_silence(attempt, progress, error), step=progress.step) from None
    except socket.gaierror as error:
        message = f"cannot resolve {_host(attempt)}: {error.strerror}"
        raise ConnectError(f"{message}. Is the name right, and does DNS work here?", step="dns") from error
    except UnicodeError as error:
        raise ConnectError(f"{_host(attempt)} is not a name that DNS can carry", step="dns") from error
    except OSError as error:
        if progress.step == "tls":
            reason = error.strerror or str(error) or CLOSED  # asyncio gives a ConnectionResetError without a word
            message = f"TLS with {_place_and_address(attempt, progress)} failed: {reason}"
        elif progress.step == "websocket":
            message = f"{_place_and_address(attempt, progress)} opened no WebSocket: {_reason(error)}"
            if attempt.presents_certificate:
                message += MAY_BE_THE_CERTIFICATE
        elif progress.step == "proxy":
            message = f"{_target(attempt)} opened no tunnel to {_place(attempt)}: {_reason(error)}"
        else:
            message = _describe_unreachable(attempt, progress, error)
        raise ConnectError(message, step=progress.step) from error


def _describe_silence(attempt: Attempt, progress: Progress, error: TimeoutError) -> str:
    if progress.interruption.has_come:
        return "this machine's network has changed"
    limit = "" if error.errno else f" within {progress.limit_s:g} s"
    place = _place(attempt)
    match progress.step:
        case None:
            return f"the files of the route were not read{limit}"
        case "dns":
            return f"no answer from the resolver for {_host(attempt)}{limit}. Does DNS work on this network?"
        case "tcp":
            return f"no answer from {_target(attempt)}{limit}{_tried(attempt, progress)}{_advise_port(attempt)}"
        case "proxy":
            return f"no answer from {_target(attempt)}{limit} to the request for a tunnel to {place}"
        case "websocket":
            return f"no answer from {_place_and_address(attempt, progress)}{limit} to the request for a WebSocket"
        case _:
            return f"no answer from {_place_and_address(attempt, progress)}{limit} in the TLS handshake"


def _describe_unreachable(attempt: Attempt, progress: Progress, error: OSError) -> str:
    return f"cannot connect to {_target(attempt)}: {_reason(error)}{_tried(attempt, progress)}{_advise_port(attempt)}"


def _advise_port(attempt: Attempt) -> str:
    if attempt.proxy is not None or attempt.tls is None or attempt.port not in BLOCKED_PORTS:
        return ""
    return f". Where the network blocks port {attempt.port}, the route over port 443 may be open"


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _tried(attempt: Attempt, progress: Progress) -> str:
    """The addresses, where they tell more than the message does without them."""
    host = attempt.host if attempt.proxy is None else attempt.proxy.host
    if not progress.tried or is_ip_literal(host):
        return ""
    if len(progress.tried) == 1:
        return f" (at {next(iter(progress.tried))})"
    told = [address if error is None else f"{address}: {_reason(error)}" for address, error in progress.tried.items()]
    return f" (tried {'; '.join(told)})"


def _place(attempt: Attempt) -> str:
    return join_host_port(attempt.host, attempt.port)


def _host(attempt: Attempt) -> str:
    """Whose name is resolved."""
    return attempt.host if attempt.proxy is None else f"{attempt.proxy.host}, the proxy"


def _target(attempt: Attempt) -> str:
    """What TCP connects to."""
    return _place(attempt) if attempt.proxy is None else f"the proxy {attempt.proxy.place}"


def _place_and_address(attempt: Attempt, progress: Progress) -> str:
    place = _place(attempt)
    if attempt.proxy is not None:
        return f"{place} through {_target(attempt)}"
    return place if is_ip_literal(attempt.host) or progress.address is None else f"{place} (at {progress.address})"


def describe_end(error: Exception | None, *, has_connack: bool, presents_certificate: bool) -> str:
    """How a client's connection ended, in words: error is None where the other side just closed."""
    when = "" if has_connack else " before the CONNACK"
    if isinstance(error, ssl.SSLError):
        message = f"the connection ended{when}: {describe_tls_error(error)}"
    elif isinstance(error, TimeoutError):  # ETIMEDOUT: TCP has given the link up, see `watch_link`
        message = f"the connection ended{when}: the link is dead, nothing came back over it in time"
    elif error is not None:
        message = f"the connection ended{when}: {error}"
    else:
        message = "the server closed the connection" + ("" if has_connack else " before its CONNACK")
    if not has_connack and presents_certificate and alert_of(error) is None:
        # In TLS 1.3 a client is done with the handshake before the server has seen its certificate, and the alert may
        # be lost in the reset that follows it.
        message += MAY_BE_THE_CERTIFICATE
    return message


def alert_of(error: BaseException | None) -> int | None:
    """The number of the alert that the server sent, where this is about one (RFC 8446, 6)."""
    name = _alert_name(error)
    return None if name is None else ALERTS.get(name)


def _alert_name(error: BaseException | None) -> str | None:
    if not isinstance(error, ssl.SSLError):
        return None
    reason = _reason_of_openssl(error)
    for prefix in ALERT_PREFIXES:
        if reason.startswith(prefix):
            return reason.removeprefix(prefix)
    return None


# Python's texts are like "[SSL] tlsv1 alert no application protocol (_ssl.c:1006)".
_TEXT = re.compile(r"\[SSL[^\]]*\] (.+?) \(_ssl")


def _reason_of_openssl(error: ssl.SSLError) -> str:
    """OpenSSL's name of a failure, in lower case; "" for none."""
    if reason := getattr(error, "reason", None):
        return str(reason).replace("_", " ").lower()
    # `ssl` has no name for what is newer than its list, but OpenSSL has a text.
    found = _TEXT.match(str(error.args[1])) if len(error.args) > 1 else None
    return found[1].lower() if found else ""


def describe_tls_error(error: ssl.SSLError) -> str:
    """What went wrong, in words: a verification failure, the peer's alert, or OpenSSL's name of the failure."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.rstrip(".")
        return f"the server's certificate is not accepted: {reason}{_advise_on_verification(error)}"
    name = _alert_name(error)
    if name is not None:
        alert = ALERTS.get(name)
        if alert in OF_THE_CLIENT_CERTIFICATE:
            advice = (
                ": it wants a client certificate that it knows; is this one registered there, active and not expired?"
            )
        else:
            advice = f": {ADVICE[alert]}" if alert in ADVICE else ""
        return f'the server sent the alert "{name}"{advice}'
    reason = _reason_of_openssl(error)
    if reason == "wrong version number":
        return f"{reason}: what answers on this port does not speak TLS"
    if reason in ("", "unexpected eof while reading"):
        return CLOSED
    return reason


def _advise_on_verification(error: ssl.SSLCertVerificationError) -> str:
    code = error.verify_code
    if code in OF_THE_DATES:
        return f". This machine's clock says {show_time(datetime.now(UTC))}: if that is wrong, set it"
    if code in OF_THE_AUTHORITY:
        return (
            ". Name the certificate authority of the server with ca=...: for AWS IoT, the file AmazonRootCA1.pem from "
            "https://www.amazontrust.com/repository/"
        )
    if code in OF_THE_NAME:
        return ". Is it the server that was meant, under the name that is on its certificate?"
    return ""
