"""Cross-builds wheels with zig's C compiler, for the CPython version that runs this.

setuptools builds for another platform where it is told three things, as CPython's own cross builds do: the platform's
name (_PYTHON_HOST_PLATFORM), its build-time variables (_PYTHON_SYSCONFIGDATA_NAME) and its headers. The last two come
from Debian's CPython; the C library comes with zig, of any version that is asked for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import debian
from places import BUILD, ROOT, cache, digest, kept, locked, run, say
from targets import SUITES, ZIG, Target

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
# What the wheel is made from. The generated C goes along, so that Cython does its work once for all targets.
SOURCES = (
    "ext",
    "src",
    "tools/bill_of_materials.py",
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
    "MANIFEST.in",
)
# setuptools takes these instead of what the running interpreter was built with. What Cython marks as small is what runs
# once, when a module is imported; it marks that for GCC alone. zig keeps frame pointers, which GCC does not.
CFLAGS = (
    "-fwrapv -DNDEBUG -fno-sanitize=undefined -fomit-frame-pointer -ffunction-sections "
    "-DCYTHON_SMALL_CODE=__attribute__((cold,minsize))"
)
LDFLAGS = "-Wl,-s -Wl,--gc-sections -Wl,--hash-style=gnu"
# zig ignores -mthumb, and has no glibc for a target called `thumb`. Handed past zig to clang, this is for our C alone:
# what zig compiles of its own stays ARM, and the linker lets one call the other.
THUMB = ("-Xclang", "-target-feature", "-Xclang", "+thumb-mode")


def suite(version: str = VERSION) -> str:
    """The Debian release whose CPython is of this version, by default the one of this interpreter."""
    if version not in SUITES:
        raise SystemExit(f"cross builds need one of CPython {', '.join(SUITES)}, as Debian has them; this is {version}")
    return SUITES[version]


def build_wheels(targets: Sequence[Target], *, limited_api: bool = False) -> dict[str, Path]:
    """A wheel for each target, by the target's name: repaired, and named for where it runs.

    What was built of the same sources before is used again.
    """
    for target in targets:
        headers(target)  # fetched one after another: apt takes one at a time anyway
    with locked("cross"):
        staged = _stage()
        sources = digest(*_contents(staged))

        def build(target: Target) -> Path:
            name = f"{target.name}-abi3" if limited_api else target.name
            place = BUILD / "wheels" / name / digest(ZIG, CFLAGS, LDFLAGS, THUMB, target, sources)
            if not place.is_dir():
                _build(target, name, staged, place, limited_api=limited_api)
            [wheel] = place.glob("*.whl")
            return wheel

        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as workers:
            return dict(zip((target.name for target in targets), workers.map(build, targets), strict=True))


def compiler(target: Target) -> list[str]:
    """The command that compiles C for a target, without Python's headers."""
    import ziglang

    zig = Path(ziglang.__file__).with_name("zig")
    version = subprocess.run([zig, "version"], check=True, capture_output=True, text=True).stdout.strip()
    if version != ZIG:
        raise SystemExit(f"zig is {version}, and wheels are built with {ZIG}: pip install ziglang=={ZIG}")
    cpu = [f"-mcpu={target.cpu}"] if target.cpu else []
    return [str(zig), "cc", "-target", target.zig, *cpu, *(THUMB if target.thumb else ())]


def tool_environment() -> dict[str, str]:
    """The environment, with zig's caches in ours and the tools of this interpreter's environment in reach."""
    caches = {name: str(cache() / "zig") for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")}
    return dict(os.environ) | caches | {"PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"}


def headers(target: Target) -> Path:
    """A folder with `include/`, CPython's headers for the target, and its build-time variables as a module."""
    gnu_triplet = target.triplet.replace("musl", "gnu")

    def make(place: Path) -> None:
        wanted = (f"libpython{VERSION}-dev", f"libpython{VERSION}-minimal")
        usr = (
            debian.packages(f"python{VERSION}-dev-{target.debian}", suite(), target.debian, wanted, alone=True) / "usr"
        )
        shutil.copytree(usr / "include" / f"python{VERSION}", place / "include")
        # Debian's own pyconfig.h includes the one of the architecture that asks, by a path this compiler does not have.
        shutil.copy(usr / "include" / gnu_triplet / f"python{VERSION}" / "pyconfig.h", place / "include")
        [variables] = (usr / "lib" / f"python{VERSION}").glob(f"_sysconfigdata_*{gnu_triplet}.py")
        # A CPython built for musl puts its own triplet into the names of extension modules.
        (place / "iotwire_sysconfig.py").write_text(variables.read_text().replace(gnu_triplet, target.triplet))

    return kept("headers", f"{VERSION}-{target.triplet}", make, made_from=target.debian)


def _stage() -> Path:
    """A copy of what wheels are made from, with the C that Cython makes of it."""
    place = BUILD / "source"
    place.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(place / "tools", ignore_errors=True)
    for name in SOURCES:
        shutil.rmtree(place / name, ignore_errors=True)
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, place / name, ignore=ignored)
        else:
            (place / name).parent.mkdir(exist_ok=True)
            shutil.copy2(ROOT / name, place / name)
    # Importing setup.py as far as its list of extensions runs Cython and compiles nothing.
    run([sys.executable, "setup.py", "-q", "egg_info", "--egg-base", BUILD], cwd=place, log=BUILD / "cython.log")
    return place


def _contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "build" not in path.relative_to(folder).parts:
            yield str(path.relative_to(folder)), path.read_bytes()


def _build(target: Target, name: str, staged: Path, place: Path, *, limited_api: bool) -> None:
    tree, built = BUILD / "trees" / name, BUILD / "built" / name
    started = monotonic()
    for folder in (tree, built, place.parent):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(staged, tree)
    command = " ".join([*compiler(target), f"-I{headers(target) / 'include'}"])
    linked = [LDFLAGS]
    if target.arm32:
        linked.append(str(_division(target)))
    if target.musl:
        linked.append(f"-Wl,--no-as-needed {_musl_name(target)}")
    environment = tool_environment() | {
        "CC": command,
        "LDSHARED": f"{command} -shared",
        "CFLAGS": CFLAGS,
        "LDFLAGS": " ".join(linked),
        "PYTHONPATH": str(headers(target)),
        "_PYTHON_HOST_PLATFORM": f"linux-{target.machine}",
        "_PYTHON_SYSCONFIGDATA_NAME": "iotwire_sysconfig",
        "IOTWIRE_LIMITED_API": "1" if limited_api else "",
    }
    wheel_of = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q", "--no-deps")
    run([*wheel_of, "--no-build-isolation", "-w", built, "."], cwd=tree, env=environment, log=BUILD / f"{name}.log")
    [wheel] = built.glob("*.whl")
    if target.musl:
        wheel = _forget_libc_so(wheel)
    if target.repaired:
        repair = ("auditwheel", "repair", "-w", built / "repaired", wheel)
        run(repair, env=tool_environment(), log=BUILD / f"{name}-repair.log")
        [wheel] = (built / "repaired").glob("*.whl")
    place.parent.mkdir(parents=True)
    unfinished = place.with_name("unfinished")
    unfinished.mkdir()
    shutil.copy2(wheel, unfinished)
    unfinished.rename(place)
    say(f"{wheel.name}: built in {monotonic() - started:.0f} s")


def _division(target: Target) -> Path:
    """See division.c."""
    source = Path(__file__).with_name("division.c")
    flags = (*CFLAGS.split(), "-fno-unwind-tables", "-O2", "-fPIC", "-Wall", "-Wextra", "-Werror")

    def make(place: Path) -> None:
        compile_it = (*compiler(target), *flags, "-c", source, "-o", place / "division.o")
        run(compile_it, env=tool_environment(), log=place / "log")

    return kept("division", target.name, make, made_from=(ZIG, source.read_text(), target, THUMB, flags)) / "division.o"


def _musl_name(target: Target) -> Path:
    """A library without contents, called what Alpine calls musl: what is linked with it names it among its needs."""
    architecture = {"armv7l": "armv7"}.get(target.machine, target.machine)
    name = f"libc.musl-{architecture}.so.1"

    def make(place: Path) -> None:
        (place / "empty.c").touch()
        link = (*compiler(target), "-shared", "-nostdlib", f"-Wl,-soname,{name}", "empty.c", "-o", name)
        run(link, cwd=place, env=tool_environment(), log=place / "log")

    return kept("musl-name", target.machine, make) / name


def _forget_libc_so(wheel: Path) -> Path:
    """Take out `libc.so`, which zig has each module ask for too: Alpine has none of that name without its compiler."""
    unpacked, packed, log = wheel.parent / "unpacked", wheel.parent / "packed", wheel.parent / "log"
    run([sys.executable, "-m", "wheel", "unpack", "-d", unpacked, wheel], log=log)
    for module in unpacked.rglob("*.so"):
        run(["patchelf", "--remove-needed", "libc.so", module], env=tool_environment(), log=log)
    packed.mkdir()
    run([sys.executable, "-m", "wheel", "pack", "-d", packed, *unpacked.iterdir()], log=log)
    [wheel] = packed.glob("*.whl")
    return wheel
