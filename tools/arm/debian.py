"""Debian packages of any architecture, unpacked into a folder: nothing is installed, this machine's apt stays as it is.

apt resolves what a package needs against an empty status file in a root of its own, and `tar` unpacks what it fetched:
no maintainer script runs, nothing is registered with the kernel, and root is not needed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from places import cache, kept, locked, run, say

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LISTS_ARE_FRESH_FOR_S = 24 * 3600
ETC_FOLDERS = ("apt.conf", "preferences", "trusted.gpg")  # apt complains where one is missing


def host_architecture() -> str:
    """What Debian calls this machine's architecture."""
    return _output("dpkg", "--print-architecture")


def mirror() -> str:
    """IOTWIRE_DEBIAN_MIRROR, or where this machine's own apt gets Debian from."""
    if named := os.environ.get("IOTWIRE_DEBIAN_MIRROR"):
        return named
    if not shutil.which("apt-get"):
        raise SystemExit(
            "The ARM tools fetch Debian packages with apt-get, which is not here: use Debian or a container of it."
        )
    used = _output("apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages")
    for address in sorted(set(used.split())):
        if address.rstrip("/").endswith("/debian"):
            return address
    raise SystemExit("This machine's apt knows no Debian mirror: name one in IOTWIRE_DEBIAN_MIRROR.")


def packages(name: str, suite: str, architecture: str, wanted: tuple[str, ...], *, alone: bool = False) -> Path:
    """A folder `name` with these packages unpacked: with all they need, or `alone`."""

    def make(place: Path) -> None:
        debs = place.parent / f"{place.name}.debs"
        debs.mkdir(exist_ok=True)
        configuration = _apt_root(suite, architecture)
        if alone:
            run(["apt-get", "-q=2", "-c", configuration, "download", *wanted], cwd=debs, log=debs / "log")
        else:
            (debs / "partial").mkdir(exist_ok=True)
            run(
                [
                    *("apt-get", "-q=2", "-y", "-d", "--no-install-recommends", "-c", configuration),
                    *("-o", f"Dir::Cache::Archives={debs}", "-o", "Debug::NoLocking=1", "install", *wanted),
                ],
                log=debs / "log",
            )
        # Some packages hold /lib, others /usr/lib: one place for both, as on an installed system.
        for folder in ("bin", "sbin", "lib"):
            (place / "usr" / folder).mkdir(parents=True)
            (place / folder).symlink_to(f"usr/{folder}")
        for deb in sorted(debs.glob("*.deb")):
            _unpack(deb, place)
        shutil.rmtree(debs)

    return kept("debian", name, make, made_from=(suite, architecture, wanted, alone))


def source(name: str, suite: str, pattern: str) -> Path:
    """The upstream tarball of a source package."""

    def make(place: Path) -> None:
        configuration = _apt_root(suite, host_architecture())
        run(["apt-get", "-q=2", "-c", configuration, "source", "--download-only", name], cwd=place, log=place / "log")

    [found] = kept("source", name, make, made_from=suite).glob(pattern)
    return found


def _unpack(deb: Path, place: Path) -> None:
    left_out = ("./usr/share/doc", "./usr/share/man", "./usr/share/locale")
    with subprocess.Popen(("/usr/bin/dpkg", "--fsys-tarfile", str(deb)), stdout=subprocess.PIPE) as archive:
        unpack = (
            "tar",
            "-x",
            "--keep-directory-symlink",
            *(f"--exclude={path}" for path in left_out),
            "-C",
            str(place),
        )
        subprocess.run(unpack, stdin=archive.stdout, check=True)
    if archive.returncode:
        raise SystemExit(f"dpkg cannot read {deb.name}")


def _apt_root(suite: str, architecture: str) -> Path:
    """The configuration file of an apt of our own for one architecture, its lists at most a day old."""
    root = cache() / "apt" / f"{suite}-{architecture}"
    configuration = root / "apt.conf"
    with locked(f"apt/{suite}-{architecture}"):
        if configuration.exists() and time.time() - configuration.stat().st_mtime < LISTS_ARE_FRESH_FOR_S:
            return configuration
        if not KEYRING.exists():
            raise SystemExit(f"{KEYRING} is not here: install the package debian-archive-keyring.")
        for folder in ("lists/partial", "cache/archives/partial", *(f"etc/{name}.d" for name in ETC_FOLDERS)):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "status").touch()
        (root / "etc" / "sources.list").write_text(
            "".join(f"{kind} [signed-by={KEYRING}] {mirror()} {suite} main\n" for kind in ("deb", "deb-src"))
        )
        settings = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Dir::State": root,
            "Dir::State::Lists": root / "lists",
            "Dir::State::status": root / "status",
            "Dir::Cache": root / "cache",
            "Dir::Etc": root / "etc",
            "Dir::Etc::sourcelist": root / "etc" / "sources.list",
        }
        unfinished = root / "apt.conf.unfinished"
        unfinished.write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
        say(f"fetching the package lists of Debian {suite} for {architecture}")
        run(["apt-get", "-q=2", "-c", unfinished, "update"], log=root / "update.log")
        unfinished.rename(configuration)
    return configuration


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
