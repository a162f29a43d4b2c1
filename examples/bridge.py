"""One process that reads a local MQTT broker and forwards to AWS IoT Core, through an outbox on disk.

A message is acknowledged to the local broker when it is on disk, and leaves the disk when the service has acknowledged
it: whatever is killed or cut off meanwhile, each arrives at least once. Settings are in the environment, see
iotwire-bridge.service; those of the endpoint are the ones of `iotwire pub` (`. iotwire-emulator/emulator.env`).
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from iotwire import X509, Broker, Client, Endpoint, MessageStream, Receipt, Route, service, systemd
from iotwire.errors import EncodeError, IotwireError, OutboxFullError, PublishError
from iotwire.metrics import prometheus_text, write_textfile
from iotwire.mqtt import Publish, Subscription
from iotwire.outbox import Outbox

CLIENT_ID = os.environ.get("BRIDGE_CLIENT_ID", "bridge")
FILTER = os.environ.get("BRIDGE_FILTER", "sensors/#")
PREFIX = os.environ.get("BRIDGE_PREFIX", f"gateways/{CLIENT_ID}/")
FOLDER = Path(os.environ.get("STATE_DIRECTORY", "."))
METRICS = os.environ.get("BRIDGE_METRICS")  # a file in node_exporter's folder, such as /var/lib/.../bridge.prom
REPORT_EVERY_S = float(os.environ.get("BRIDGE_REPORT_EVERY_S", "15"))
KEEPS_S = 7 * 24 * 3600  # for so long the local broker keeps messages while the bridge is down

log = logging.getLogger("bridge")

# What is on its way to the disk, in order; the local broker has no more than 100 messages unacknowledged.
OnTheWay = asyncio.Queue[tuple[Publish, Receipt]]


def cloud_route() -> Route:
    variables = os.environ
    port = variables.get("IOTWIRE_PORT_8883")
    endpoint = Endpoint(
        variables["IOTWIRE_ENDPOINT"],
        address=variables.get("IOTWIRE_ADDRESS"),
        ports={8883: int(port)} if port else None,
    )
    return endpoint.route("mqtt", X509(variables["IOTWIRE_CERT"], variables["IOTWIRE_KEY"], ca=variables["IOTWIRE_CA"]))


def local_route() -> Broker:
    return Broker(os.environ.get("BRIDGE_HOST", "127.0.0.1"), int(os.environ.get("BRIDGE_PORT", "1883")))


async def store(messages: MessageStream, local: Client, cloud: Client, on_the_way: OnTheWay) -> None:
    """Put what the local broker sends into the outbox, under the topic that it has in the cloud."""
    async for message in messages:
        while True:
            try:
                receipt = cloud.publish_nowait(PREFIX + message.topic, message.payload, qos=1)
            except OutboxFullError as error:  # what is not acknowledged waits in the local broker
                log.warning("%s", error)
                await asyncio.sleep(1)
            except (EncodeError, PublishError) as error:  # the service will never take it
                log.warning("a message on %s is not forwarded: %s", message.topic, error)
                local.acknowledge(message)
                break
            else:
                await on_the_way.put((message, receipt))
                break


async def acknowledge(local: Client, on_the_way: OnTheWay) -> None:
    while True:
        message, receipt = await on_the_way.get()
        await receipt  # on disk now; where that fails the bridge ends, and gets the message again
        local.acknowledge(message)


async def report(local: Client, cloud: Client) -> None:
    while True:
        stats = {"local": local.stats(), "cloud": cloud.stats()}
        outbox = stats["cloud"].outbox
        assert outbox is not None
        systemd.status(f"{outbox.delivered} messages delivered, {outbox.messages} on disk")
        if METRICS:
            try:
                await asyncio.to_thread(write_textfile, METRICS, prometheus_text(stats))
            except IotwireError as error:
                log.warning("%s", error)
        await asyncio.sleep(REPORT_EVERY_S)


async def main() -> None:
    local = Client(local_route(), CLIENT_ID, clean_start=False, session_expiry_interval=KEEPS_S, wait_for_server=True)
    # Before it connects: messages of the session that the broker has kept may come with the first read.
    messages = local.messages(FILTER, manual_acknowledgement=True)
    cloud = Client(cloud_route(), CLIENT_ID, outbox=Outbox(FOLDER / "outbox.db"))
    on_the_way: OnTheWay = asyncio.Queue(200)
    async with cloud, local, asyncio.TaskGroup() as tasks:
        await local.subscribe(Subscription(FILTER, 1, retain_handling=1))
        tasks.create_task(store(messages, local, cloud, on_the_way))
        tasks.create_task(acknowledge(local, on_the_way))
        tasks.create_task(report(local, cloud))
        systemd.ready()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    service.run(main, stop_timeout_s=15)
