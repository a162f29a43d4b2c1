"""A folder that is kept: devices find their certificates again, and nobody's own files are touched."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from iotwire import X509, Client, ConnectError, CredentialsError, RouteError
from iotwire.emulator import Emulator, pki
from iotwire.emulator.folder import MARKER
from scripted import asynchronous

pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")


def kept(folder: Path, host: str = "a1b2c3-ats.iot.local.test") -> Emulator:
    return Emulator(host, folder=folder, ports={8883: 0}, addresses=["127.0.0.1"])


def contents(*paths: object) -> list[bytes]:
    return [Path(str(path)).read_bytes() for path in paths]


def of_device(device: X509) -> list[bytes]:
    return contents(device.cert, device.key, device.ca)


async def connect(emulator: Emulator, device: X509) -> None:
    async with Client(emulator.endpoint.route("mqtt", device), "device"):
        pass


@asynchronous
async def test_devices_keep_their_certificates_over_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "some" / "folder"
    async with kept(folder) as emulator:
        device, pump = emulator.device, emulator.issue_device("pump")
        before = [*of_device(device), *of_device(pump)]
    # Under another name of the endpoint too: only its own certificate says that.
    async with kept(folder, "another-ats.iot.local.test") as emulator:
        await connect(emulator, device)
        await connect(emulator, pump)
        assert [*of_device(emulator.device), *of_device(emulator.issue_device("pump"))] == before


@asynchronous
async def test_only_this_user_can_read_the_keys(tmp_path: Path) -> None:
    async with kept(tmp_path / "folder") as emulator:
        folder = Path(emulator.device.key).parent
        assert folder == tmp_path / "folder"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        assert {name for name, mode in modes.items() if mode == 0o600} == {"ca.key", "device.key", "server.key"}
        assert all(mode & 0o022 == 0 for mode in modes.values())
    assert sorted(modes) == sorted([MARKER, "ca.key", "ca.pem", "device.key", "device.pem", "server.key", "server.pem"])


@pytest.mark.parametrize("lifetime", [timedelta(hours=1), timedelta(hours=-1)], ids=["soon", "long ago"])
@asynchronous
async def test_certificates_that_expire_are_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lifetime: timedelta
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(pki, "KEPT_LIFETIME", lifetime)
        async with kept(tmp_path) as emulator:
            before = of_device(emulator.device)
    async with kept(tmp_path) as emulator:
        after = of_device(emulator.device)
        assert not set(before) & set(after)
        await connect(emulator, emulator.device)


@pytest.mark.parametrize(("damaged", "left"), [("device.key", 1), ("device.pem", 1), ("ca.key", 0), ("ca.pem", 0)])
@pytest.mark.parametrize("data", [None, b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
@asynchronous
async def test_what_is_damaged_is_made_anew(tmp_path: Path, damaged: str, left: int, data: bytes | None) -> None:
    async with kept(tmp_path) as emulator:
        before = of_device(emulator.device)
    if data is None:
        (tmp_path / damaged).unlink()
    else:
        (tmp_path / damaged).write_bytes(data)
    async with kept(tmp_path) as emulator:
        assert len(set(before) & set(of_device(emulator.device))) == left  # of the three, only the authority's
        await connect(emulator, emulator.device)


@asynchronous
async def test_a_key_of_another_certificate_is_not_used(tmp_path: Path) -> None:
    async with kept(tmp_path) as emulator:
        device, pump = emulator.device, emulator.issue_device("pump")
        shutil.copyfile(pump.key, device.key)
    async with kept(tmp_path) as emulator:
        await connect(emulator, emulator.device)


@asynchronous
async def test_files_of_somebody_else_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"mine")
    with pytest.raises(CredentialsError, match=r"folder: .* are not the emulator's"):
        async with kept(tmp_path):
            pass
    assert os.listdir(tmp_path) == ["ca.pem"]
    folder = tmp_path / "folder"
    async with kept(folder) as emulator:
        (folder / "pump.key").write_bytes(b"mine")
        (folder / "notes.txt").symlink_to(tmp_path / "ca.pem")
        with pytest.raises(CredentialsError, match=r"pump\.key is not the emulator's"):
            emulator.issue_device("pump")
        with pytest.raises(CredentialsError, match=r"notes\.txt is not the emulator's"):
            emulator.write_file("notes.txt", "ours")
        emulator.write_file("ours.txt", "1")
        assert emulator.write_file("ours.txt", "2").read_text() == "2"
        for name in ("../ours.txt", "", "a/b", ".."):
            with pytest.raises(RouteError, match="name"):
                emulator.write_file(name, "")
    assert contents(tmp_path / "ca.pem", folder / "pump.key") == [b"mine", b"mine"]


@pytest.mark.parametrize("marker", ["", "[]", "{}", '{"files": 1}', "\ufffd"])
def test_a_marker_of_somebody_else_is_refused(tmp_path: Path, marker: str) -> None:
    (tmp_path / MARKER).write_text(marker, encoding="utf-8")

    async def start() -> None:
        with pytest.raises(CredentialsError, match="is not the emulator's"):
            async with kept(tmp_path):
                pass

    asyncio.run(start())


@asynchronous
async def test_two_emulators_do_not_share_a_folder(tmp_path: Path) -> None:
    async with kept(tmp_path):
        with pytest.raises(CredentialsError, match="another emulator"):
            async with kept(tmp_path):
                pass
    async with kept(tmp_path) as emulator:
        # One that cannot listen lets go of its folder.
        with pytest.raises(ConnectError):
            async with Emulator(folder=tmp_path / "other", ports={8883: emulator.ports[8883]}):
                pass
        async with kept(tmp_path / "other"):
            pass


@asynchronous
async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(CredentialsError, match=rf"folder: cannot use {path}"):
            async with kept(path):
                pass
