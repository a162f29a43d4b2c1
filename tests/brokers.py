"""Real brokers, each a process of its own on free ports of 127.0.0.1, and what each of them speaks.

`with RabbitMq(folder) as broker:` starts one, waits until it accepts a client, and ends it. A broker keeps sessions and
retained messages in its folder, so that they outlive `restart`. tools/install-brokers.sh installs them all; a test that
starts one that is not there skips (or fails, see `support.absent`).
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import pytest

from iotwire import Broker
from iotwire.mqtt import ConnAck, Connect, Decoder, Disconnect
from support import CHECKOUT, absent

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0

# Below what Linux gives to a socket that names no port: nothing that connects while a broker restarts gets its port,
# not even the client that wants to connect to it, which would then talk to itself.
PORTS = range(20_000, 32_768)


def free_ports(count: int) -> list[int]:
    """Ports that are free at this moment."""
    sockets: list[socket.socket] = []
    while len(sockets) < count:
        with suppress(OSError):
            sockets.append(socket.create_server((HOST, secrets.choice(PORTS))))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def find_program(name: str, *folders: str) -> str:
    """The path of a program. Debian installs servers to /usr/sbin, which is not on every user's PATH."""
    path = os.pathsep.join([*folders, os.environ.get("PATH", os.defpath), "/usr/sbin"])
    program = shutil.which(name, path=path)
    if program is None:
        absent("broker", f"{name} is not installed (tools/install-brokers.sh installs it)")
    return program


class Process:
    """A running program, which does not outlive the tests."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=log.parent,
                start_new_session=True,  # an interrupt from the keyboard is for the tests, which then end it
            )
        # pytest-timeout exits without any cleaning up. Then the pipe to this one is closed.
        self._guard = subprocess.Popen(
            ["sh", "-c", f"read -r _; kill -KILL {self._popen.pid}"], stdin=subprocess.PIPE, start_new_session=True
        )

    @property
    def has_ended(self) -> bool:
        return self._popen.poll() is not None

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)
        if number == signal.SIGSTOP:  # which takes a moment, where a program has threads
            os.waitid(os.P_PID, self._popen.pid, os.WSTOPPED)

    def end(self, number: signal.Signals) -> None:
        """Send a signal that ends it, and wait until it has."""
        self._popen.send_signal(number)
        self._popen.send_signal(signal.SIGCONT)  # a frozen process would not see it
        try:
            self._popen.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._guard.kill()
        self._guard.communicate()


def wait_until_it_listens(port: int, process: Process, log: Path) -> None:
    """Until something listens on that port. Where the process ends first, the test fails, with the end of its log."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection((HOST, port), timeout=START_TIMEOUT_S).close()
        except OSError:
            if process.has_ended or time.monotonic() > deadline:
                pytest.fail(f"it did not start: {log.read_text(errors='replace')[-4000:]}")
            threading.Event().wait(0.02)
        else:
            return


# What any nginx of the tests has, in a folder of its own and in the foreground.
NGINX = """\
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
worker_processes 1;
{user}
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{http}
}}
"""


def start_nginx(folder: Path, http: str, port: int) -> Process:
    """An nginx that has answered on that port. http: what its `http` block says. End it with SIGQUIT."""
    configuration = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    configuration.write_text(NGINX.format(folder=folder, user=user, http=http))
    log = folder / "output.log"
    command = [find_program("nginx"), "-c", str(configuration), "-e", str(folder / "error.log")]
    process = Process(command, {"PATH": os.defpath}, log)
    wait_until_it_listens(port, process, log)
    return process


def nginx_listens(addresses: Sequence[str], port: int) -> str:
    """The statements for a server on these addresses of this machine, with TLS."""
    return " ".join(f"listen {f'[{each}]' if ':' in each else each}:{port} ssl;" for each in addresses)


class RealBroker(ABC):
    """A broker with its folder and its port, running or not.

    name, versions: of MQTT, as `Client` has them. max_qos: the highest that it takes and delivers.
    keeps_over_kill: whether sessions and the messages in them that it has acknowledged are there again after `kill`.
    writes_sessions_after_s: how long it may take until it has written that there is a new session or subscription.
    not_in_topics: characters that it does not pass on in topics as they are.
    """

    name: ClassVar[str]
    versions: ClassVar[tuple[int, ...]] = (4,)
    has_shared_subscriptions: ClassVar[bool] = False
    sends_retained_to_wildcards: ClassVar[bool] = True
    keeps_over_kill: ClassVar[bool] = True
    writes_sessions_after_s: ClassVar[float] = 0.0
    not_in_topics: ClassVar[str] = ""
    username: ClassVar[str | None] = None
    password: ClassVar[str | None] = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (self.port,) = free_ports(1)
        self._process: Process | None = None

    @property
    def max_qos(self) -> int:
        return 2

    def route(self, port: int | None = None) -> Broker:
        """The way to it; through a `relay`, where a port is given."""
        return Broker(HOST, port or self.port, username=self.username, password=self.password)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Start it, on the same port each time, and wait until it answers a client."""
        assert self._process is None, "it is running"
        self._process = Process(self._command(), self._environment(), self._log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._accepts_clients():
            if self._process.has_ended or time.monotonic() > deadline:
                pytest.fail(f"{self.name} did not start: {self.end_of_log()}")
            threading.Event().wait(0.02)

    def stop(self) -> None:
        """End it in an orderly way, whatever state it is in."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash or the kernel would, without a word to anybody."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it if it runs, and start it again with what it has kept."""
        self._end(signal.SIGTERM)
        self.start()

    def freeze(self) -> None:
        """Let it do nothing any more. Its connections stay: the system takes what is sent until buffers are full."""
        assert self._process is not None, "it is not running"
        self._process.send(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None, "it is not running"
        self._process.send(signal.SIGCONT)

    def end_of_log(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]

    @abstractmethod
    def _command(self) -> list[str]:
        """The program and its arguments, after its configuration has been written."""

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder), "LANG": "C.UTF-8"}

    @property
    def _log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def _write(self, name: str, *lines: str) -> str:
        path = self.folder / name
        path.write_text("\n".join(lines) + "\n")
        return str(path)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.end(number)
            self._process = None

    def _accepts_clients(self) -> bool:
        password = self.password.encode() if self.password is not None else None
        connect = Connect("is-it-up", keep_alive=60, username=self.username, password=password)
        decoder = Decoder(4)
        try:
            with socket.create_connection((HOST, self.port), timeout=START_TIMEOUT_S) as connection:
                connection.sendall(connect.encode(4))
                while data := connection.recv(4096):
                    for packet in decoder.feed(data):
                        if isinstance(packet, ConnAck) and packet.reason_code == 0:
                            connection.sendall(Disconnect().encode(4))
                            return True
        except OSError:
            pass
        return False


class Mosquitto(RealBroker):
    """mosquitto. It writes what it keeps when it ends in an orderly way, and every half hour.

    addresses: where it listens on `port`. further: more lines of its configuration, such as other listeners.
    """

    name = "mosquitto"
    versions = (4, 5)
    has_shared_subscriptions = True
    keeps_over_kill = False

    def __init__(self, folder: Path, *, addresses: Sequence[str] = (HOST,), further: Sequence[str] = ()) -> None:
        super().__init__(folder)
        self._program = find_program("mosquitto")
        self._addresses = addresses
        self._further = further

    def _command(self) -> list[str]:
        settings = ["per_listener_settings true", "log_dest stderr"]
        settings += ["persistence true", f"persistence_location {self.folder}/"]
        if os.geteuid() == 0:
            settings.append("user root")  # or it would give up the right to read its own key
        for address in self._addresses:
            settings += [f"listener {self.port} {address}", "allow_anonymous true"]
        return [self._program, "-c", self._write("mosquitto.conf", *settings, *self._further)]


class PortMapper:
    """Erlang's, which tells nodes of each other's ports. Without one that runs, a node starts one that outlives it."""

    def __init__(self, folder: Path) -> None:
        self._program = find_program("epmd")
        self._log = folder / "epmd.log"
        (self.port,) = free_ports(1)
        self._process: Process | None = None

    def start(self) -> None:
        if self._process is None:
            command = [self._program, "-address", HOST, "-port", str(self.port)]
            self._process = Process(command, {"PATH": os.defpath}, self._log)
            wait_until_it_listens(self.port, self._process, self._log)

    def stop(self) -> None:
        if self._process is not None:
            self._process.end(signal.SIGTERM)
            self._process = None


class RabbitMq(RealBroker):
    """RabbitMQ with its MQTT plugin: a node of its own, which knows of no other, with a port mapper of its own.

    It answers a PUBLISH of QoS 2 with PUBACK, where MQTT-4.3.3-2 asks for PUBREC: who sent it has to end the
    connection, as `Client` does. It sends no retained messages to a subscription with wildcards, against MQTT-3.3.1-6,
    and writes them to its disk two seconds later, as it does new subscriptions. It takes "." for "/" and "*" for "+",
    which MQTT-4.7.3-4 forbids.
    Granting QoS 1 where 2 is asked for is its right.

    port_mapper: one that others use too, and that others end. further: more lines of its configuration.
    erl_arguments: for the machine that it runs on.
    """

    name = "rabbitmq"
    writes_sessions_after_s = 4.0
    sends_retained_to_wildcards = False
    not_in_topics = ".*"
    username = "guest"  # may log in over loopback only
    password = "guest"

    def __init__(
        self,
        folder: Path,
        *,
        node: str = "iotwire@localhost",
        port_mapper: PortMapper | None = None,
        further: Sequence[str] = (),
        erl_arguments: str = "",
    ) -> None:
        super().__init__(folder)
        # Debian's rabbitmq-server on the PATH is a wrapper for its system service; this is the program itself.
        self._program = find_program("rabbitmq-server", "/usr/lib/rabbitmq/bin")
        self.node = node
        self._port_mapper = port_mapper or PortMapper(folder)
        self._shares_port_mapper = port_mapper is not None
        self._further = further
        self._erl_arguments = f"-kernel inet_dist_use_interface {{127,0,0,1}} {erl_arguments}"
        self._node_port, self._amqp_port = free_ports(2)

    @property
    def max_qos(self) -> int:
        return 1

    def start(self) -> None:
        self._port_mapper.start()
        super().start()

    def stop(self) -> None:
        super().stop()
        if not self._shares_port_mapper:
            self._port_mapper.stop()

    def _command(self) -> list[str]:
        self._write("enabled_plugins", "[rabbitmq_mqtt].")
        listener = f"mqtt.listeners.tcp.1 = {HOST}:{self.port}"
        self._write("rabbitmq.conf", listener, "disk_free_limit.absolute = 1MB", *self._further)
        return [self._program]

    def _environment(self) -> dict[str, str]:
        folder = self.folder
        return super()._environment() | {
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self._port_mapper.port),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self._amqp_port),
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": self._erl_arguments,
            # The script becomes the server, instead of waiting for one: signals reach the server.
            "RUNNING_UNDER_SYSTEMD": "true",
        }


class Nats(RealBroker):
    """nats-server with MQTT over JetStream. It has QoS 2 from 2.10 on.

    It closes the connection over a topic with a space or (before 2.10) a dot, which are like any other character in
    MQTT (3.1.1, 4.7.3). What a connection that broke had not acknowledged comes again when `ack_wait` is over, among
    what is new, and not with the next connection (3.1.1, MQTT-4.4.0-1).

    ack_wait: as its configuration has it. server, replicas, further: what it is called, how many servers keep what is
    sent over MQTT, and more lines of its configuration.
    """

    name = "nats"
    not_in_topics = " ."

    def __init__(
        self,
        folder: Path,
        *,
        ack_wait: str = "30s",
        server: str = "iotwire",
        replicas: int = 1,
        further: Sequence[str] = (),
    ) -> None:
        super().__init__(folder)
        self.server = server
        self._mqtt = f'listen: "{HOST}:{self.port}", ack_wait: "{ack_wait}", stream_replicas: {replicas}'
        self._further = further
        self._program = find_program("nats-server")
        (self._nats_port,) = free_ports(1)

    @cached_property
    def version(self) -> tuple[int, ...]:
        told = subprocess.run([self._program, "--version"], capture_output=True, check=True, text=True).stdout
        return tuple(int(each) for each in re.findall(r"\d+", told))

    @property
    def max_qos(self) -> int:
        return 2 if self.version >= (2, 10) else 1

    def _command(self) -> list[str]:
        settings = [
            f'server_name: "{self.server}"',
            f'listen: "{HOST}:{self._nats_port}"',
            f"mqtt {{ {self._mqtt} }}",
            f'jetstream {{ store_dir: "{self.folder}" }}',
            *self._further,
        ]
        return [self._program, "-c", self._write("nats.conf", *settings)]


class Aedes(RealBroker):
    """aedes of npm, with LevelDB to keep sessions in. Its version 1 speaks 3.1.1 only; 5.0 is announced for 2.

    websocket_port: where it speaks MQTT over WebSockets, as ws of npm does, under /mqtt.
    """

    name = "aedes"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (self.websocket_port,) = free_ports(1)
        self._program = find_program("node")
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        key = hashlib.sha256((CHECKOUT / "tools/brokers/package-lock.json").read_bytes()).hexdigest()[:12]
        self.packages = Path(os.environ.get("IOTWIRE_CACHE") or Path(cache, "iotwire")) / f"brokers/npm-{key}"
        if not self.packages.is_dir():
            absent("broker", "aedes is not installed (tools/install-brokers.sh installs it)")

    @property
    def _places(self) -> tuple[str, str, str]:
        return str(self.port), str(self.websocket_port), str(self.folder / "store")

    def _command(self) -> list[str]:
        script = Path(__file__).with_name("aedes.mjs")
        return [self._program, str(script), str(self.packages), *self._places]


BROKERS: tuple[type[RealBroker], ...] = (Mosquitto, Nats, Aedes, RabbitMq)
