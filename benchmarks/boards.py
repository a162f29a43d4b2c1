"""Guest instructions for one operation on each architecture, against mqtt5 and paho: `make bench-arm`.

No board is needed: the release's own wheels run on Debian's CPython under QEMU, which counts what is executed. The
counts are the same on every machine that emulates, so `--check` holds them to the kept ones (figures/instructions.json)
within three per cent; `--keep` writes those anew, and the drawing of them in docs/. They say nothing of caches,
branches and pipelines: codecs can be compared on one architecture by them, not architectures with each other.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tools" / "arm"))

from counted import DRIVER, ENVIRONMENT, for_one_packet, operations  # noqa: E402
from counting import counts  # noqa: E402
from cross import build_wheels  # noqa: E402
from emulation import environment, install  # noqa: E402
from places import BUILD, say  # noqa: E402
from targets import BOARDS, Board, target_named  # noqa: E402

KEPT = HERE / "figures" / "instructions.json"
DRAWN = HERE.parent / "docs" / "instructions.svg"
TOLERANCE = 0.03
PEERS = ("mqtt5==0.8.0", "paho-mqtt==2.2.0")

# The figures that were promised: ours, the peer's, and how many times as many instructions it takes at least.
AIMS = (
    ("encode_publish, positional", "mqtt5: encode", 7.0),
    ("decode a stream", "mqtt5: decode a stream", 5.0),
)
# What else is set against the peers: ours, and theirs by the peer's name.
COMPARED = (
    ("encode_publish, positional", "encode"),
    ("PreparedPublish.encode", "encode"),
    ("encode_publish, with properties", "encode, with properties"),
    ("decode one", "decode one"),
    ("decode one, with properties", "decode one, with properties"),
    ("decode a stream", "decode a stream"),
    ("decode a stream, topics all different", "decode a stream, topics all different"),
    ("decode a stream of PUBACK", "decode a stream of PUBACK"),
)

Figures = dict[str, dict[str, float]]  # board -> operation -> instructions for one packet


def count_on(board: Board, wheel: Path) -> dict[str, float]:
    """The counts of one board."""
    python = environment(board, BUILD / "boards" / f"{board.name}-count")
    install(board, python, str(wheel), *PEERS)
    every = operations()
    names = [name for name in every if not name.startswith("floor:")]  # the floor is compiled, and no part of the wheel
    loops = counts(board, python, DRIVER, names, ENVIRONMENT)
    say(f"{board.name}: counted")
    return for_one_packet(dict(zip(names, loops, strict=True)), every)


def table(figures: Figures) -> Iterable[str]:
    """What an operation of ours takes on each architecture, as Markdown."""
    boards = list(figures)
    yield "| instructions for one packet | " + " | ".join(boards) + " |"
    yield "|---|" + "---:|" * len(boards)
    for name in figures[boards[0]]:
        if ": " not in name or name.startswith("PUBACK"):
            yield f"| {name} | " + " | ".join(f"{figures[board][name]:,.0f}" for board in boards) + " |"


def ratios(figures: Figures) -> Iterable[str]:
    """How many times as many instructions the peers take, as Markdown."""
    boards = list(figures)
    yield "| times as many | " + " | ".join(boards) + " |"
    yield "|---|" + "---:|" * len(boards)
    for peer in ("mqtt5", "paho"):
        for ours, theirs in COMPARED:
            name = f"{peer}: {theirs}"
            if name in figures[boards[0]]:
                row = (f"{figures[board][name] / figures[board][ours]:.1f}" for board in boards)
                yield f"| {peer}, of {ours} | " + " | ".join(row) + " |"


def plot(figures: Figures) -> Iterable[str]:
    """Bars of the main operations, ours before mqtt5's, as Mermaid charts, which GitHub draws where it shows text."""
    for ours, theirs, _ in AIMS:
        boards = list(figures)
        most = max(figures[board][theirs] for board in boards)
        yield "```mermaid"
        yield "xychart-beta"
        yield f'    title "{ours}: instructions for one packet (mqtt5 behind, iotwire in front)"'
        yield f"    x-axis [{', '.join(boards)}]"
        yield f'    y-axis "instructions" 0 --> {most * 1.1:.0f}'
        yield f"    bar [{', '.join(f'{figures[board][theirs]:.0f}' for board in boards)}]"
        yield f"    bar [{', '.join(f'{figures[board][ours]:.0f}' for board in boards)}]"
        yield "```"


def draw(figures: Figures, path: Path) -> None:
    """The main operations as a picture."""
    from drawing import draw  # with matplotlib, which no count needs

    draw(figures, COMPARED, AIMS, path)


def moved(figures: Figures, kept: Figures) -> Iterable[str]:
    """A line for each count of ours that is more than TOLERANCE from the kept one, either way."""
    for board, found in figures.items():
        for name, now in found.items():
            before = kept.get(board, {}).get(name)
            if name.startswith(("mqtt5:", "paho:")):
                continue
            if before is None:
                yield f"{board}: {name}: {now:.0f}, and none is kept"
            elif abs(now / before - 1) > TOLERANCE:
                yield f"{board}: {name}: {before:.0f} -> {now:.0f} ({now / before - 1:+.1%})"


def missed(figures: Figures) -> Iterable[str]:
    """A line for each aim that is not reached."""
    for board, found in figures.items():
        for ours, theirs, aim in AIMS:
            if found[theirs] / found[ours] < aim:
                times = found[theirs] / found[ours]
                yield f"{board}: {ours}: mqtt5 takes {times:.1f} times as many; {aim:g} is the aim"


def main(arguments: list[str] | None = None) -> int:
    """Build, count, print, keep or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help=f"write {KEPT.name} and {DRAWN.name} anew")
    parser.add_argument("--check", action="store_true", help="fail where a count of ours moved by more than 3 %%")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the figures into an SVG file")
    parser.add_argument("--summary", metavar="FILE", type=Path, help="append tables and plot to FILE, as Markdown")
    options = parser.parse_args(arguments)

    boards = [board for board in BOARDS if board.counted]
    wheels = build_wheels([target_named(board.target) for board in boards])
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as workers:
        found = workers.map(lambda board: count_on(board, wheels[board.target]), boards)
        figures = {board.name: one for board, one in zip(boards, found, strict=True)}

    text = "\n".join([*table(figures), "", *ratios(figures)])
    print(text)
    # An aim that is missed is said each time; what fails a check is a count that is not where it was.
    changes = list(moved(figures, json.loads(KEPT.read_text()))) if options.check else []
    remarks = [*missed(figures), *changes]
    if options.summary:
        with options.summary.open("a") as summary:
            summary.write("\n".join([text, "", *plot(figures), "", *remarks]) + "\n")
    if options.plot:
        draw(figures, options.plot)
    if options.keep:
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps(figures, indent=1) + "\n")
        draw(figures, DRAWN)
    print(*remarks, sep="\n")
    return 1 if changes else 0


if __name__ == "__main__":
    sys.exit(main())
