"""In which functions a whole client's instructions are: `python benchmarks/client_where.py publish_nowait`.

One of our ways (client_ways/iotwire_ways.py) runs under callgrind against a mosquitto of this machine, and what it does
between its two looks at the processor's clock is shown for one message: by shared object, then by function. callgrind
does not see the system, and makes a client so slow that it is woken for more at once: what is shown is the client's own
work, and `clients.py` says what it is worth.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from broker import mosquitto, mosquitto_program
from counted import ENVIRONMENT
from instructions import by_function

WAYS = Path(__file__).resolve().parent / "client_ways"
SHOWN = 0.01  # of all: what has less is not worth a line


def profile(valgrind: str, program: str, way: str, messages: int) -> str:
    """What callgrind wrote of the measured section."""
    with TemporaryDirectory() as scratch, mosquitto(program) as port:
        written = Path(scratch) / "profile"
        order = {"way": way, "port": port, "messages": messages, "warm_up": messages // 4}
        order |= {"uvloop": False, "burst": False, "feed": -1}
        subprocess.run(
            [
                *(valgrind, "--tool=callgrind", "--dump-before=getrusage", f"--callgrind-out-file={written}"),
                *(sys.executable, str(WAYS / "iotwire_ways.py"), json.dumps(order)),
            ],
            check=True,
            capture_output=True,
            env=os.environ | ENVIRONMENT,
        )
        return Path(f"{written}.2").read_text()  # the first dump holds what came before the section


def by_object(profile: str) -> Counter[str]:
    """Instructions of each shared object: callgrind's own lines `ob=` take the place of `fn=`."""
    objects = re.sub(r"^c?f[nile]=.*\n", "", profile, flags=re.MULTILINE)
    found = by_function(re.sub(r"^(c?)ob=", r"\1fn=", objects, flags=re.MULTILINE))
    return Counter({Path(name).name.partition(".cpython")[0]: count for name, count in found.items()})


def show(title: str, found: Counter[str], messages: int) -> None:
    print(f"{title:52} {'a message':>9}")
    for name, instructions in found.most_common():
        share = instructions / found.total()
        if share < SHOWN:
            break
        print(f"{name.removeprefix('__pyx_'):52} {instructions / messages:9.1f} {share:6.1%}")


def main(arguments: list[str] | None = None) -> int:
    """Run one way and print its profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=("publish_many", "publish_nowait", "publish_one_by_one", "publish_acknowledged"))
    parser.add_argument("--messages", type=int, default=20_000)
    options = parser.parse_args(arguments)
    valgrind, program = shutil.which("valgrind"), mosquitto_program()
    if valgrind is None or program is None:
        print("valgrind or mosquitto is not installed; nothing counted")
        return 0
    written = profile(valgrind, program, options.way, options.messages)
    show("object", by_object(written), options.messages)
    show("function", by_function(written), options.messages)
    return 0


if __name__ == "__main__":
    sys.exit(main())
