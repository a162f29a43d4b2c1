"""Where the emulator's certificates lie: a folder that goes away with it, or one that is kept for the next time.

A folder that is kept is somebody's: nothing in it is written over but what was written here before, and two emulators
do not share one. What was written is listed in `MARKER`.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path

from ..errors import CredentialsError

__all__ = ["Folder", "KeptFolder"]

MARKER = "iotwire-emulator.json"


class Folder:
    """A folder of this user's own. keeps: whether what lies in it is of use to the next emulator."""

    keeps = False

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, data: bytes, *, mode: int) -> str:
        """Write a file, whole or not at all, and never readable by more than `mode` says. The result is its path."""
        path = self.path / name
        temporary = self.path / f".{name}.{secrets.token_hex(4)}"
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(data)
            temporary.replace(path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise CredentialsError(f"cannot write {path}: {error.strerror}") from error
        return str(path)

    def read(self, name: str) -> bytes | None:
        """What was written under this name; None where nothing was, or it cannot be read any more."""
        try:
            return (self.path / name).read_bytes()
        except OSError:
            return None

    def close(self) -> None:
        """Nothing is written after this."""


class KeptFolder(Folder):
    """A folder that outlives the emulator; made, for this user alone, where it is not there.

    Raises CredentialsError where it cannot be used, or has files in it that no emulator has written.
    """

    keeps = True

    def __init__(self, path: Path) -> None:
        super().__init__(path.absolute())
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise CredentialsError(f"folder: cannot use {self.path}: {error.strerror}") from error
        try:
            self._take_lock()
            self._names = self._read_marker()
        except BaseException:
            os.close(self._lock)
            raise

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CredentialsError(f"folder: another emulator uses {self.path}") from None
        except OSError:
            pass  # a file system without locks: then nobody is kept from it

    def _read_marker(self) -> set[str]:
        data = self.read(MARKER)
        if data is None:
            if any(self.path.iterdir()):
                raise CredentialsError(
                    f"folder: {self.path} has files that are not the emulator's; an empty or a new folder is expected"
                )
            return set()
        try:
            names = json.loads(data)["files"]
            return {name for name in names if isinstance(name, str)}
        except (ValueError, KeyError, TypeError):
            raise CredentialsError(f"folder: {self.path / MARKER} is not the emulator's") from None

    def write(self, name: str, data: bytes, *, mode: int) -> str:
        if name not in self._names:
            if os.path.lexists(self.path / name):
                raise CredentialsError(f"folder: {self.path / name} is not the emulator's: it stays as it is")
            self._names.add(name)
            # Listed before it is there: what is interrupted in between must not take it for a stranger's.
            marker = {
                "about": "written by `iotwire emulator`, which replaces these files",
                "files": sorted(self._names),
            }
            super().write(MARKER, json.dumps(marker, indent=2).encode() + b"\n", mode=0o644)
        return super().write(name, data, mode=mode)

    def read(self, name: str) -> bytes | None:
        return super().read(name) if name == MARKER or name in self._names else None

    def close(self) -> None:
        os.close(self._lock)
