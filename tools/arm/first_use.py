"""What a board runs after a wheel was installed there: every packet of both versions, decoded and encoded.

It gets the folder of the tests, for their vectors, and prints what it ran on.
"""

from __future__ import annotations

import sys

import iotwire.mqtt

unwanted = {"ssl", "asyncio", "cryptography"} & sys.modules.keys()
if unwanted:
    raise SystemExit(f"the codec has loaded {', '.join(sorted(unwanted))}")

import os  # noqa: E402
from pathlib import Path  # noqa: E402

import iotwire._mqtt  # noqa: E402

sys.path.append(sys.argv[1])
from vectors.mqtt import CASES  # noqa: E402

tried = set()
for vector, version in CASES:
    decoded = iotwire.mqtt.decode(vector.wire, version)
    assert decoded == (vector.packet, len(vector.wire)), vector.id
    if vector.form == "canonical":
        assert vector.packet.encode(version) == vector.wire, vector.id
        tried.add((type(vector.packet), version))
assert len(tried) == 14 + 15, sorted((kind.__name__, version) for kind, version in tried)

# The C library by what is really loaded: names and tags are what is to be tried here.
mapped = {Path(line.split()[-1]).name for line in Path("/proc/self/maps").read_text().splitlines()}
[c_library] = {name for name in mapped if name.startswith(("libc.so", "libc-", "ld-musl-"))}
loaded = Path(iotwire._mqtt.__file__).name
version = ".".join(str(part) for part in sys.version_info[:3])
print(f"{os.uname().machine}, {c_library}, CPython {version}, {loaded}")
