"""What tests of every folder share: where the shared vectors lie, and what a missing neighbour means.

Import it as `from support import shared_vectors_folder`: pytest puts tests/ on the path.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent

# On an emulated board (tools/arm): /proc and the tools are those of the machine that emulates, and time is dear.
IS_EMULATED = "IOTWIRE_EMULATED" in os.environ


def is_required(neighbour: str) -> bool:
    """Whether IOTWIRE_REQUIRE (`broker,shared-vectors` in .ci/run) promises that this neighbour is there."""
    return neighbour in os.environ.get("IOTWIRE_REQUIRE", "").split(",")


def absent(neighbour: str, reason: str) -> NoReturn:
    """Skip because a neighbour of the tests is not there; fail where it was promised."""
    if is_required(neighbour):
        pytest.fail(f"{neighbour} is required here, but {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def build_preloaded(source: str, folder: Path) -> Path:
    """A library of C in tests/, for LD_PRELOAD."""
    library = folder / f"{Path(source).stem}.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", library, CHECKOUT / "tests" / source, "-ldl", "-pthread"]
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        absent("compiler", "there is no C compiler here")
    return library


def find_shared_vectors() -> Path | None:
    """The folder of test data that nobody in this project wrote, or None where it is absent.

    IOTWIRE_SHARED_VECTORS names it; otherwise it is looked for beside the checkout.
    """
    named = os.environ.get("IOTWIRE_SHARED_VECTORS")
    folder = Path(named) if named else CHECKOUT.parent / "shared" / "vectors"
    return folder if folder.is_dir() else None


def shared_vectors_folder() -> Path:
    """`find_shared_vectors` for a test that cannot go on without it: skips, or fails where it was promised."""
    folder = find_shared_vectors()
    if folder is None:
        absent("shared-vectors", "no shared/vectors beside the checkout, and IOTWIRE_SHARED_VECTORS names none")
    return folder
