"""Ways to connect to a local endpoint, as texts to paste: Python, mosquitto's and curl's command lines, variables."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from ..emulator import Emulator
from ..endpoint import ROUTES
from ..route import ServiceRoute, join_host_port

__all__ = ["CREDENTIALS", "Door", "Recipes"]

# The file of what signatures may be made with.
CREDENTIALS = "aws-credentials"
VARIABLES_FILE = "emulator.env"

_TOPIC = "readings/load"

_SIGNER_IMPORT = "from iotwire.custom_auth import TokenSigner\n"
# What each proof is called in the program.
_PROOFS = {"x509": "device", "sigv4": "signature", "custom": "door"}
_WITHOUT_DOOR = "# Rows 3, 5 and 9 are there with iotwire emulator --authorizer NAME=MODULE:FUNCTION."


@dataclass(frozen=True, slots=True)
class Door:
    """A custom authorizer that is there. token_key_name: what it calls its token; None where it needs none.

    is_signed: whether tokens have signatures.
    """

    name: str
    token_key_name: str | None = None
    is_signed: bool = False

    def python(self) -> str:
        arguments = [repr(self.name)]
        if self.token_key_name is not None:
            arguments += [f"token_key_name={self.token_key_name!r}", 'token=os.environ["IOTWIRE_TOKEN"]']
        if self.is_signed:
            arguments.append('signer=TokenSigner(Path(os.environ["IOTWIRE_SIGNING_KEY"]).read_bytes())')
        return f"CustomAuth({', '.join(arguments)})"

    @property
    def imports(self) -> str:
        return ("import os\n" if self.variables else "") + ("from pathlib import Path\n" if self.is_signed else "")

    @property
    def variables(self) -> str:
        """Which variables have to be set first; empty for none."""
        needed = ["IOTWIRE_TOKEN"] if self.token_key_name is not None else []
        return " and ".join([*needed, *(["IOTWIRE_SIGNING_KEY"] if self.is_signed else [])])


@dataclass(frozen=True, slots=True)
class Recipes:
    """What a client needs to know of an endpoint. address: to connect to. local_name: one that resolves to it here."""

    host: str
    address: str
    local_name: str
    ports: dict[int, int]
    ca: str
    cert: str
    key: str
    region: str
    credentials: str
    door: Door | None = None

    @classmethod
    def of(cls, emulator: Emulator, door: Door | None = None) -> Recipes:
        device = emulator.device
        address = emulator.addresses[0]
        if ip_address(address).is_unspecified:
            address = "::1" if ":" in address else "127.0.0.1"
        local_name = "localhost" if ip_address(address).is_loopback else emulator.host
        ca, cert, key = (str(os.fspath(path)) for path in (device.ca or "", device.cert, device.key))
        return cls(
            host=emulator.host,
            address=address,
            local_name=local_name,
            ports=dict(emulator.ports),
            ca=ca,
            cert=cert,
            key=key,
            region=emulator.region,
            credentials=str(Path(cert).with_name(CREDENTIALS)),
            door=door,
        )

    @property
    def environment(self) -> str:
        """The file of variables."""
        return str(Path(self.cert).with_name(VARIABLES_FILE))

    @property
    def rows(self) -> list[ServiceRoute]:
        """Those that can be shown."""
        return [
            row
            for row in ROUTES
            if row.port in self.ports and (self.door is not None or row.authentication != "custom")
        ]

    def files(self) -> dict[str, str]:
        """Texts by the names of the files that they are for."""
        return {"connect.py": self.python(), "commands.sh": self.commands(), VARIABLES_FILE: self.variables()}

    def python(self) -> str:
        """A program that publishes by each row that is served, and shows what arrives."""
        rows = self.rows
        reader = next((row for row in rows if row.protocol == "mqtt" and row.authentication == "x509"), None)
        body = []
        for row in rows:
            ca = "" if row.authentication == "x509" else ", ca=device.ca"
            route = f'endpoint.route("{row.protocol}", {_PROOFS[row.authentication]}, port={row.port}{ca})'
            topic = f'"readings/row{row.number}"'
            if row.protocol == "https":
                body += [f"async with HttpsPublisher({route}) as publisher:"]
                body += [f'    await publisher.publish({topic}, b"0.5", qos=1)']
            elif row is not reader:
                body += [f'async with Client({route}, "row{row.number}") as client:']
                body += [f'    await client.publish({topic}, b"0.5", qos=1)']
        if reader is not None:
            shown = f'endpoint.route("mqtt", device, port={reader.port})'
            body = [
                f'async with Client({shown}, "device") as device_client:',
                '    await device_client.subscribe("readings/#", qos=1)',
                '    messages = device_client.messages("readings/#")',
                f'    await device_client.publish("readings/row{reader.number}", b"0.5", qos=1)',
                *("    " + line for line in body),
                f"    for _ in range({len(rows)}):",
                "        print(await anext(messages))",
            ]
        lines = "\n    ".join(body)
        return f"""# Written by `iotwire emulator`; the ports are those of its latest start.
{self._door_note()}import asyncio
{"" if self.door is None else self.door.imports}
from iotwire import X509, Client, CustomAuth, Endpoint, HttpsPublisher, SigV4
from iotwire.credentials import SharedFilesCredentials
{"" if self.door is None or not self.door.is_signed else _SIGNER_IMPORT}
endpoint = Endpoint({self.host!r}, ports={self.ports!r}, address={self.address!r}, region={self.region!r})
device = X509({self.cert!r}, {self.key!r}, ca={self.ca!r})
signature = SigV4(SharedFilesCredentials(credentials_file={self.credentials!r}))
door = {"None" if self.door is None else self.door.python()}


async def main() -> None:
    {lines}


asyncio.run(main())
"""

    def _door_note(self) -> str:
        """What rows with a custom authorizer need; a line of its own, or nothing."""
        if self.door is None:
            return _WITHOUT_DOOR + "\n"
        return f"# Set {self.door.variables} first, for rows 3, 5 and 9.\n" if self.door.variables else ""

    def commands(self) -> str:
        lines = ["# The ports are those of the emulator's latest start.", *self._door_note().splitlines()]
        lines.append(f"set -a; . {shlex.quote(self.environment)}; set +a")
        if self.local_name != "localhost":
            lines.append(f"# mosquitto's commands need this line in /etc/hosts: {self.address} {self.host}")
        for row in self.rows:
            lines += ["", f"# row {row.number}: {row}"]
            if row.authentication != "x509":
                lines.append(self._iotwire(row))
            elif row.protocol == "mqtt":
                lines += [self._mosquitto("mosquitto_sub", row.port, row.alpn, "-C", "1", "-t", _TOPIC) + " &"]
                lines += [self._mosquitto("mosquitto_pub", row.port, row.alpn, "-t", _TOPIC, "-m", "0.5")]
            elif row.alpn is None:
                lines.append(self._curl(row.port))
            else:
                lines.append("# curl cannot offer this name; a request by hand:")
                lines.append(self._openssl(row.port, row.alpn))
        return "\n".join(lines) + "\n"

    def _mosquitto(self, command: str, port: int, alpn: str | None, *more: str) -> str:
        words = [command, "-h", self.local_name, "-p", str(self.ports[port]), "--cafile", self.ca]
        words += ["--cert", self.cert, "--key", self.key, "-V", "mqttv5", "-q", "1"]
        return shlex.join([*words, *(() if alpn is None else ("--tls-alpn", alpn)), *more])

    def _iotwire(self, row: ServiceRoute) -> str:
        """What signs, which other commands do not, or want the secret as an argument for."""
        words = ["iotwire", "pub", "--protocol", row.protocol, "--auth", row.authentication, "-p", str(row.port)]
        if row.authentication == "custom" and self.door is not None:
            words += ["--authorizer-name", self.door.name]
            words += [] if self.door.token_key_name is None else ["--token-key-name", self.door.token_key_name]
        return shlex.join([*words, "-q", "1", "-t", _TOPIC, "-m", "0.5"])

    def _curl(self, port: int) -> str:
        place = f"{self.host}:{port}:{join_host_port(self.address, self.ports[port])}"
        words = ["curl", "-sS", "--cacert", self.ca, "--cert", self.cert, "--key", self.key, "--connect-to", place]
        return shlex.join([*words, "--data-binary", "0.5", f"https://{self.host}:{port}/topics/readings%2Fload?qos=1"])

    def _openssl(self, port: int, alpn: str) -> str:
        request = rf"POST /topics/readings%2Fload?qos=1 HTTP/1.1\r\nHost: {self.host}\r\nContent-Length: 3\r\n"
        place = join_host_port(self.address, self.ports[port])
        words = ["openssl", "s_client", "-quiet", "-connect", place, "-servername", self.host, "-alpn", alpn]
        words += ["-CAfile", self.ca, "-cert", self.cert, "-key", self.key]
        request = request.replace("%", "%%")  # for printf
        return shlex.join(["printf", rf"{request}Connection: close\r\n\r\n0.5"]) + " | " + shlex.join(words)

    def variables(self) -> str:
        values = {"ENDPOINT": self.host, "ADDRESS": self.address, "CA": self.ca, "CERT": self.cert, "KEY": self.key}
        values |= {f"PORT_{service}": str(local) for service, local in self.ports.items()}
        named = {f"IOTWIRE_{name}": value for name, value in values.items()}
        named |= {"AWS_REGION": self.region, "AWS_SHARED_CREDENTIALS_FILE": self.credentials}
        return "# For `iotwire pub`: set -a; . ./emulator.env\n" + "".join(
            f"{name}={shlex.quote(value)}\n" for name, value in named.items()
        )
