"""Readings of this machine: load, memory and temperatures, where Linux shows them."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Reading", "gateway_name", "read_machine"]


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading. name: the last levels of its topic. text: what the payload says, for people."""

    name: str
    payload: bytes
    text: str

    @classmethod
    def of_values(cls, name: str, values: Mapping[str, str | int | float], text: str) -> Reading:
        return cls(name, json.dumps(values, separators=(",", ":")).encode(), text)

    @classmethod
    def of_text(cls, text: str) -> Reading:
        """A text of somebody's own in place of a reading."""
        # What the terminal gave that is not UTF-8 goes out as the bytes it came as.
        return cls("text", text.encode(errors="surrogateescape"), ascii(text)[1:-1])


def gateway_name() -> str:
    """The name of this machine as a topic level."""
    return _as_level(platform.node()) or "gateway"


def read_machine(root: Path = Path("/")) -> list[Reading]:
    """All readings there are right now. root: where proc and sys are found."""
    return [
        *_read_load(root / "proc/loadavg"),
        *_read_memory(root / "proc/meminfo"),
        *_read_thermal_zones(root / "sys/class/thermal"),
        *_read_hwmon(root / "sys/class/hwmon"),
    ]


def _read_load(path: Path) -> Iterator[Reading]:
    fields = _read_text(path).split()
    if len(fields) >= 4:
        one, five, fifteen = map(float, fields[:3])
        running, _, processes = fields[3].partition("/")
        yield Reading.of_values(
            "load",
            {"1min": one, "5min": five, "15min": fifteen, "running": int(running), "tasks": int(processes)},
            f"{one:.2f} {five:.2f} {fifteen:.2f}, {processes} tasks",
        )


def _read_memory(path: Path) -> Iterator[Reading]:
    kib = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+)", _read_text(path), re.MULTILINE)}
    total, available = kib.get("MemTotal"), kib.get("MemAvailable")
    if total and available is not None:
        used_percent = round(100 * (total - available) / total, 1)
        yield Reading.of_values(
            "memory",
            {"total_kib": total, "available_kib": available, "used_percent": used_percent},
            f"{used_percent:.1f} % of {total / 1024:.0f} MiB used",
        )


def _read_thermal_zones(folder: Path) -> Iterator[Reading]:
    for zone in sorted(folder.glob("thermal_zone*")):
        yield from _read_temperature(zone / "temp", zone.name, _read_text(zone / "type") or zone.name)


def _read_hwmon(folder: Path) -> Iterator[Reading]:
    for chip in sorted(folder.glob("hwmon*")):
        chip_name = _read_text(chip / "name") or chip.name
        for path in sorted(chip.glob("temp*_input")):
            label = _read_text(path.with_name(path.name.replace("_input", "_label")))
            number = path.name.removesuffix("_input")
            yield from _read_temperature(path, f"{chip.name}-{number}", f"{chip_name} {label}".strip())


def _read_temperature(path: Path, name: str, sensor: str) -> Iterator[Reading]:
    try:
        celsius = int(_read_text(path)) / 1000
    except ValueError:
        return  # no such sensor, or one that is asleep
    yield Reading.of_values(
        f"temperature/{_as_level(name)}", {"sensor": sensor, "celsius": celsius}, f"{celsius:.1f} C, {sensor}"
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""  # absent, or a driver that answers with an error


def _as_level(text: str) -> str:
    """The text without what a topic level cannot hold."""
    return re.sub(r"[^\w.-]+", "-", text)
