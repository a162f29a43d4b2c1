"""The probe itself: a connection for each hello, a few at a time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import replace

from ..errors import ConnectError, EncodeError, RouteError
from ..proxy import Proxy
from ..route import (
    Attempt,
    TlsPlan,
    is_ip_literal,
    join_host_port,
    read_host,
    read_interface,
    read_port,
    read_source_address,
)
from ..transport.connect import connect_socket
from ..transport.explain import explaining
from ..transport.steps import Progress
from .hello import SERVICE_PORT, Answer, ProbeHello, ProbeResult, plan_hellos

__all__ = ["probe_endpoint"]

CONCURRENCY = 4
READ_BYTES = 16 * 1024
CERTIFICATE_S = 1.0  # what is waited for a certificate that follows a ServerHello


async def probe_endpoint(
    host: str,
    port: int = SERVICE_PORT,
    *,
    alpn: Sequence[str] | None = None,
    server_name: str | None = None,
    timeout_s: float = 10.0,
    family: int = 0,
    proxy: Proxy | None = None,
    interface: str | None = None,
    source_address: str | None = None,
    concurrency: int = CONCURRENCY,
) -> list[ProbeResult]:
    """Send a hello of each kind on a connection of its own, and tell what comes back for each, in order.

    host: a DNS name or an IP address. alpn: the names to offer, one by one; None means those of the service's matrix
    on port 443, and none elsewhere. server_name: for SNI in place of the host; for an IP address there is none
    otherwise. timeout_s: for each connection, and for each answer, in seconds. family: `socket.AF_INET` or `AF_INET6`
    for addresses of that one alone; not with a proxy, which resolves the name. proxy, interface, source_address: as for
    `Endpoint.route`. concurrency: how many connections there are at a time, at most.

    Raises ConnectError where no connection can be made to begin with, RouteError or EncodeError for arguments that name
    nothing that can be probed.
    """
    host, port = read_host(host), read_port(port)
    if server_name is not None and is_ip_literal(server_name):
        raise RouteError(f"server_name: SNI carries DNS names only, not {server_name}")
    if family and proxy is not None:
        raise RouteError("family: a proxy resolves the name itself, so it cannot be told over which to connect")
    if isinstance(alpn, (str, bytes)):
        raise EncodeError("a list of names is expected, not one name", field="alpn")
    for name, value in (("timeout_s", timeout_s), ("concurrency", concurrency)):
        if not value > 0:
            raise EncodeError("must be more than 0", field=name)
    hellos = plan_hellos(host, port, alpn=alpn, server_name=server_name)
    encoded = [hello.encode() for hello in hellos]  # before any packet is sent: the names may be wrong
    attempt = Attempt(
        host,
        port,
        TlsPlan(host),
        proxy=proxy,
        interface=read_interface(interface),
        source_address=read_source_address(source_address),
    )
    attempt = await _find_address(attempt, family, timeout_s)
    places = asyncio.Semaphore(concurrency)

    async def send(hello: ProbeHello, data: bytes) -> ProbeResult:
        async with places:
            return await _probe(attempt, hello, data, timeout_s)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(send(*each)) for each in zip(hellos, encoded, strict=True)]
    return [task.result() for task in tasks]


async def _find_address(attempt: Attempt, family: int, timeout_s: float) -> Attempt:
    """The attempt with the first address that answers: all hellos go to that one, so that they can be compared."""
    hosts = await _resolve(attempt, family, timeout_s) if family else [attempt.host]
    failures: list[ConnectError] = []
    for host in hosts:
        progress = Progress(timeout_s)
        to_host = replace(attempt, host=host)
        try:
            with explaining(to_host, progress), await connect_socket(to_host, progress):
                return to_host if attempt.proxy is not None else replace(attempt, host=progress.address or host)
        except ConnectError as error:
            failures.append(error)
    raise failures[0]


async def _resolve(attempt: Attempt, family: int, timeout_s: float) -> list[str]:
    progress = Progress(timeout_s)
    progress.enter("dns")
    with explaining(attempt, progress):
        async with asyncio.timeout(timeout_s):
            found = await asyncio.get_running_loop().getaddrinfo(
                attempt.host, attempt.port, family=family, type=socket.SOCK_STREAM
            )
    return [str(address[0]) for _, _, _, _, address in found]


async def _probe(attempt: Attempt, hello: ProbeHello, data: bytes, timeout_s: float) -> ProbeResult:
    loop = asyncio.get_running_loop()
    peer = join_host_port(attempt.host, attempt.port)
    if attempt.proxy is not None:
        peer += f" through {attempt.proxy.place}"
    answer = Answer(hello, peer)
    progress = Progress(timeout_s)
    try:
        with explaining(attempt, progress):
            connection = await connect_socket(attempt, progress)
    except ConnectError as error:
        return answer.end("unreachable", str(error))
    is_selected = False
    answer = Answer(hello, peer)  # its clock starts now
    with connection:
        try:
            async with asyncio.timeout(timeout_s) as limit:
                await loop.sock_sendall(connection, data)
                while (result := answer.feed(await loop.sock_recv(connection, READ_BYTES))) is None:
                    if answer.is_selected and not is_selected:
                        is_selected = True
                        limit.reschedule(loop.time() + min(timeout_s, CERTIFICATE_S))
        except TimeoutError:
            return answer.end("silent", f"no answer within {timeout_s:g} s")
        except OSError as error:
            return answer.end("reset", f"the connection ended: {error.strerror or error}")
    return result
