"""Where things are kept: what took long to fetch or build, in a cache that outlives a checkout; the rest in build/.

A kept folder is made under another name and renamed when it is whole: a run that was interrupted leaves nothing that a
later one takes for finished. Its name says what it was made from, so another version is another folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "arm"
SHARED_VECTORS = ROOT.parent / "shared" / "vectors"


def cache() -> Path:
    """IOTWIRE_CACHE, or a folder of our own where this system keeps caches."""
    named = os.environ.get("IOTWIRE_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "iotwire"


def digest(*parts: object) -> str:
    """A short name for what something is made from."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock in the cache: two builds at once must not both fetch, or write to one folder."""
    place = cache() / f"{name}.lock"
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def kept(kind: str, name: str, make: Callable[[Path], None], *, made_from: object = ()) -> Path:
    """The folder `name` of this kind in the cache; `make` fills a new one where it is not there yet."""
    place = cache() / kind / f"{name}-{digest(made_from)}"
    with locked(f"{kind}/{name}"):
        if not place.is_dir():
            unfinished = place.with_name(place.name + ".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            started = time.monotonic()
            make(unfinished)
            unfinished.rename(place)
            say(f"{kind} {name}: made in {time.monotonic() - started:.0f} s")
    return place


def say(text: str) -> None:
    """Tell whoever waits what is going on."""
    print(text, file=sys.stderr, flush=True)


def run(
    command: Sequence[object],
    *,
    log: Path | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a command; with `log`, what it prints goes there and is shown only where it fails."""
    words = [str(word) for word in command]
    if log is None:
        subprocess.run(words, cwd=cwd, env=env, check=True)
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        failed = subprocess.run(
            words, cwd=cwd, env=env, stdout=output, stderr=subprocess.STDOUT, check=False
        ).returncode
    if failed:
        lines = log.read_text(errors="replace").splitlines()
        raise SystemExit("\n".join([*lines[-60:], f"failed ({failed}): {' '.join(words)}", f"all of it: {log}"]))
