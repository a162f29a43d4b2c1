"""ci_wheels.py [OPTION...]: let cibuildwheel make this machine's wheels, from the sdist in dist/, into wheelhouse/.

A program and no recipe of the Makefile, since a Windows runner has Python for certain and make perhaps. Which wheels,
and how each is tested, stands in pyproject.toml; options go to cibuildwheel as they are. cibuildwheel gets an
environment of its own, at the version that pyproject.toml names.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / "build" / "cibuildwheel"


def the_sdist() -> Path:
    """The one sdist in dist/: wheels are made from what users get, not from what lies about in a checkout."""
    found = sorted((ROOT / "dist").glob("*.tar.gz"))
    if len(found) != 1:
        sys.exit(f"dist/ has {len(found)} sdists, and one is needed: 'make build' makes it")
    return found[0]


def the_requirement() -> str:
    """The version of cibuildwheel that the extra `workflows` asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (requirement,) = (name for name in project["optional-dependencies"]["workflows"] if name.startswith("cibuildwheel"))
    return str(requirement)


def main(options: list[str]) -> int:
    """Install cibuildwheel, run it, and return its status."""
    sdist = the_sdist()
    python = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", the_requirement()], check=True)
    build = [str(python), "-m", "cibuildwheel", "--output-dir", str(ROOT / "wheelhouse"), *options, str(sdist)]
    return subprocess.run(build, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
