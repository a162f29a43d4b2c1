"""A mosquitto on a free port of the loopback interface, for as long as a `with` block lasts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

HOST = "127.0.0.1"
START_TIMEOUT_S = 10.0

# Nothing is dropped, and no message waits for another's acknowledgement. Without a limit of its own on messages in
# flight the broker leaves Receive Maximum at its default of 65535. With Nagle's algorithm a client that sleeps until
# several acknowledgements are there would wait for its own delayed one.
SETTINGS = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
log_dest none
sys_interval 0
set_tcp_nodelay true
max_queued_messages 0
max_inflight_messages 0
"""


def mosquitto_program() -> str | None:
    """The path of mosquitto, or None. Debian installs it to /usr/sbin, which is not on every user's PATH."""
    return shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))


def mosquitto_version(program: str) -> str:
    """What it calls itself, "2.0.11" of "mosquitto version 2.0.11"."""
    printed = subprocess.run([program, "-h"], check=False, capture_output=True, text=True).stdout
    return printed.partition("\n")[0].rpartition(" ")[2]


@contextmanager
def mosquitto(program: str, further: str = "") -> Iterator[int]:
    """Start it; the value is its port. It is ended with the block. further: more lines of its configuration."""
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    with TemporaryDirectory() as folder:
        configuration = Path(folder) / "mosquitto.conf"
        # As root it would change to a user of its own, which may not read the folder.
        user = "user root\n" if os.geteuid() == 0 else ""
        configuration.write_text(SETTINGS.format(port=port) + user + further)
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen([program, "-c", str(configuration)], stdout=output, stderr=output)
        try:
            _wait_until_listening(process, port, log)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"mosquitto did not start: {log.read_text(errors='replace')}") from None
            threading.Event().wait(0.02)
        else:
            return
