"""The floor: what no codec can go under, because it is the work of making the objects themselves.

`_floor.pyx` is built here, on first use, into build/benchmarks/ of the checkout; it is no part of the wheel. It needs
Cython, a C compiler and the sources under ext/, for it cimports the packet classes that the decoder makes.
"""

from __future__ import annotations

from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from sysconfig import get_config_var
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from contenders import Contender, Missing, same
from inputs import Message, wire_of

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "benchmarks" / "_floor.pyx"
BUILD = ROOT / "build" / "benchmarks"


class Floor:
    """Contenders that only make objects: every offset was worked out beforehand."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def copy(self, image: bytes) -> Contender:
        """One exact bytes object, filled from a ready image: no encoder can do with less."""
        names = {"exact_copy": self._module.exact_copy, "image": image}
        return Contender("floor", "result = exact_copy(image)", names, same)

    def publishes(self, messages: list[Message]) -> Contender:
        """The str, the bytes, the Publish and the list of a decoded stream."""
        maker = self._module.PublishMaker(wire_of(messages), [_offsets(*item) for item in _placed(messages)])
        return Contender(
            "floor", "result = make()", {"make": maker.make}, lambda packets: [_fields(p) for p in packets]
        )

    def pubacks(self, packet_ids: list[int]) -> Contender:
        """The PubAck objects and the list of a decoded stream."""
        maker = self._module.PubAckMaker(packet_ids)
        return Contender(
            "floor", "result = make()", {"make": maker.make}, lambda packets: [p.packet_id for p in packets]
        )


def load_floor() -> Floor | Missing:
    """Build the compiled half if the sources are newer than it, and load it."""
    if not (ROOT / "ext" / "iotwire" / "_mqtt.pxd").exists():
        return Missing("floor", "needs the sources under ext/")
    try:
        return Floor(_load(_build()))
    except ImportError as error:
        return Missing("floor", f"was not built ({error})")


def _build() -> Path:
    target = BUILD / f"_floor{get_config_var('EXT_SUFFIX')}"
    sources = [SOURCE, *(ROOT / "ext" / "iotwire").glob("*.pxd")]
    if target.exists() and target.stat().st_mtime > max(source.stat().st_mtime for source in sources):
        return target

    from Cython.Build import cythonize
    from setuptools import Distribution, Extension

    BUILD.mkdir(parents=True, exist_ok=True)
    # Made aside and moved into place: two counts that start together would delete each other's C.
    with TemporaryDirectory(dir=BUILD) as scratch:
        # The flags of setup.py: the floor and the codec must come from the same compiler in the same mood.
        extension = Extension("_floor", [str(SOURCE)], extra_compile_args=["-O3", "-g0"])
        modules: list[Extension] = cythonize(  # type: ignore[no-untyped-call]
            [extension], include_path=[str(ROOT / "ext")], build_dir=f"{scratch}/c", force=True, quiet=True
        )
        command = Distribution({"name": "floor", "ext_modules": modules}).get_command_obj("build_ext")
        command.build_lib, command.build_temp, command.force = scratch, f"{scratch}/o", True
        command.ensure_finalized()
        command.run()
        (Path(scratch) / target.name).replace(target)
    return target


def _load(path: Path) -> ModuleType:
    import iotwire.mqtt  # noqa: F401 - the classes that the floor cimports

    spec = spec_from_file_location("_floor", path, loader=ExtensionFileLoader("_floor", str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _placed(messages: list[Message]) -> list[tuple[int, Message]]:
    """Each message with the offset of its packet in the stream of all."""
    placed, offset = [], 0
    for message in messages:
        placed.append((offset, message))
        offset += len(message.wire)
    return placed


def _offsets(offset: int, message: Message) -> dict[str, Any]:
    """Where everything lies that the decoder would have to find; the names are those of the struct in `_floor.pyx`."""
    topic = offset + len(message.wire) - len(message.body) + 2
    properties = message.properties
    return {
        "topic": topic,
        "topic_size": len(message.topic.encode()),
        "properties": offset + message.wire.index(properties) if properties else 0,
        "properties_size": len(properties),
        "payload": offset + len(message.wire) - len(message.payload),
        "payload_size": len(message.payload),
        "seen": sum(1 << identifier for identifier in message.property_identifiers),
        "packet_id": message.packet_id or 0,
        "first": message.wire[0],
        "ascii": message.topic.isascii(),
    }


def _fields(packet: Any) -> tuple[object, ...]:
    return (
        packet.topic,
        packet.payload,
        packet.qos,
        packet.packet_id,
        packet.content_type,
        packet.user_properties,
    )
