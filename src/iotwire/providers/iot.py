"""The device's own way: a certificate is exchanged for credentials of a role (AWS IoT Core, credentials provider)."""

from __future__ import annotations

import re
from datetime import datetime
from urllib.parse import quote

from ..client.options import positive
from ..credentials import X509
from ..endpoint import Endpoint
from ..errors import ConnectionLostError, CredentialsError
from ..proxy import Proxy
from ..route import Attempt, TlsPlan, read_interface, read_source_address
from ..sigv4 import Credentials
from ..transport.explain import MAY_BE_THE_CERTIFICATE
from .document import DocumentNames, read_credentials, read_object
from .http import HttpSource, words_of
from .refreshing import RefreshingProvider

__all__ = ["IotCredentials"]

NAMES = DocumentNames("accessKeyId", "secretAccessKey", "sessionToken", "expiration")
PORT = 443
_ROLE_ALIAS = re.compile(r"[\w=,@-]{1,128}", re.ASCII)
_THING_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
# The data endpoint, which people have at hand, under the name of AWS's own.
_DATA_ENDPOINT = re.compile(r"[a-z0-9-]+\.iot(?:-fips)?\.[a-z0-9-]+\.amazonaws\.(?:com|com\.cn|eu)", re.IGNORECASE)

MEANINGS = {
    400: "the request is not understood: check role_alias and thing_name",
    401: "the certificate is not known: check that it is registered and active in this account and region",
    403: (
        "not allowed: check that the certificate is active and its policy allows iot:AssumeRoleWithCertificate on the "
        "role alias, that the thing is attached to the certificate where thing_name is given, and that the role trusts "
        "credentials.iot.amazonaws.com"
    ),
    404: "nothing is there: check the role alias, and the endpoint's name and region",
    429: "too many requests: try again later",
}


class IotCredentials(RefreshingProvider):
    """What AWS IoT's credentials provider gives a device for its certificate.

    endpoint: the account's own name for it, such as "c1a2b3c4d5.credentials.iot.eu-central-1.amazonaws.com" (aws iot
        describe-endpoint --endpoint-type iot:CredentialProvider), or an `Endpoint` of that name, for another address
        or port than the service's.
    role_alias: the name of the role alias. auth: the certificate of the device.
    thing_name: the thing that the certificate is attached to, where policies use it.
    proxy, interface, source_address: as of `Endpoint.route`.
    connect_timeout_s: from the name's resolution to the end of the TLS handshake. response_timeout_s: from the first
        byte of the request to the last one of the answer.

    Raises CredentialsError or RouteError, which names the argument, for what cannot be right.
    """

    def __init__(
        self,
        endpoint: str | Endpoint,
        role_alias: str,
        auth: X509,
        *,
        thing_name: str | None = None,
        proxy: Proxy | None = None,
        interface: str | None = None,
        source_address: str | None = None,
        connect_timeout_s: float = 30.0,
        response_timeout_s: float = 30.0,
    ) -> None:
        super().__init__()
        endpoint = endpoint if isinstance(endpoint, Endpoint) else Endpoint(endpoint)
        if _DATA_ENDPOINT.fullmatch(endpoint.host):
            raise CredentialsError(
                f"endpoint: {endpoint.host} is that for messages; the one of the credentials provider has "
                ".credentials. in it (aws iot describe-endpoint --endpoint-type iot:CredentialProvider)"
            )
        if not _matches(_ROLE_ALIAS, role_alias):
            raise CredentialsError("role_alias: 1 to 128 of A-Z, a-z, 0-9, _ = , @ - are expected")
        if not isinstance(auth, X509):
            raise CredentialsError(f"auth: X509(...) is expected, not a {type(auth).__name__}")
        if thing_name is not None and not _matches(_THING_NAME, thing_name):
            raise CredentialsError("thing_name: 1 to 128 of A-Z, a-z, 0-9, : _ - are expected")
        if proxy is not None and not isinstance(proxy, Proxy):
            raise CredentialsError(f"proxy: Proxy(...) or None is expected, not a {type(proxy).__name__}")
        self._name = endpoint.host
        self._role_alias = role_alias
        self._thing_name = thing_name
        self._attempt = Attempt(
            endpoint.address or endpoint.host,
            endpoint.ports.get(PORT, PORT),
            TlsPlan(endpoint.host, certificate=auth, ca=auth.ca),
            authority=endpoint.host,
            proxy=proxy,
            interface=read_interface(interface),
            source_address=read_source_address(source_address),
        )
        self._source = HttpSource(
            "IoT credentials provider",
            connect_timeout_s=positive("connect_timeout_s", connect_timeout_s),
            response_timeout_s=positive("response_timeout_s", response_timeout_s),
        )

    def __repr__(self) -> str:
        thing = "" if self._thing_name is None else f", thing_name={self._thing_name!r}"
        return f"IotCredentials({self._name!r}, {self._role_alias!r}{thing})"

    def _fetch(self, now: datetime) -> Credentials:  # noqa: ARG002
        source = self._source
        headers = [] if self._thing_name is None else [("x-amzn-iot-thingname", self._thing_name)]
        try:
            answer = source.ask(self._attempt, f"/role-aliases/{quote(self._role_alias)}/credentials", headers)
        except CredentialsError as error:
            if isinstance(error.__cause__, ConnectionLostError):
                raise CredentialsError(f"{error}{MAY_BE_THE_CERTIFICATE}") from error.__cause__
            raise
        if answer.status != 200:
            meaning = MEANINGS.get(answer.status, "the service failed" if answer.status >= 500 else "refused")
            source.fail(f"HTTP {answer.status}, {meaning}{words_of(answer)}", status=answer.status)
        document = read_object(answer.body, source.name).get("credentials")
        if not isinstance(document, dict):
            source.fail("the answer has no credentials")
        return read_credentials(document, NAMES, source.name)


def _matches(pattern: re.Pattern[str], name: object) -> bool:
    return isinstance(name, str) and pattern.fullmatch(name) is not None
