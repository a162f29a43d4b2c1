"""Where figures come from: what stands at the head of every file of them, and of every plot.

The date, the command, the machine, the versions. No path of the machine's: what lies outside the checkout is a name.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def describe_run(versions: dict[str, str], **how: Any) -> dict[str, Any]:
    """On what, when and how this was measured. how: what else there is to say."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": command(sys.argv),
        "commit": commit(),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "machine": platform.machine(),
        "processor": processor(),
        "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 1),
        "versions": versions,
        **how,
    }


def command(arguments: list[str]) -> str:
    """What was typed, with paths as they are from the checkout."""
    return " ".join(["python", *(_from_checkout(word) for word in arguments)])


def commit() -> str | None:
    """The commit that is checked out, with a plus behind it where something was changed since."""
    try:
        words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def processor() -> str:
    """The name of what this runs on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Model"))]
    return models[0] if models else platform.processor()


def _from_checkout(word: str) -> str:
    path = Path(word)
    if not (path.is_absolute() or path.exists()):
        return word
    path = path.resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name
