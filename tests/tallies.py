"""What becomes of the messages of a fault run, counted one way for all of them, and said when the tests are over.

A message is known by a name that no other message of its run has. All chance of a run comes from one seed, which
IOTWIRE_FAULT_SEED gives (0 unless it is set): what is printed can be tried again.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator

SEED = int(os.environ.get("IOTWIRE_FAULT_SEED", "0"))
LEVELS = (1, 2)
# What counts among the kills and cuts; faults of another kind (a slow link, a full disk) are counted beside them.
ENDS = ("process", "broker", "link", "power")


def chance_of(run: str) -> random.Random:
    """All that is left to chance in a run."""
    return random.Random(f"{SEED} {run}")


class Counts:
    """Of one quality of service.

    sent: a program has handed over. stored: it was told that they are safe. acknowledged: the server said that it has
    them, PUBACK or PUBREC. arrived: at who has subscribed, and how often. sent_anew: what comes twice because the
    broker sent it as new, or had forgotten that it has it; anyone would take it for another message.
    """

    def __init__(self) -> None:
        self.sent: set[Hashable] = set()
        self.stored: set[Hashable] = set()
        self.acknowledged: set[Hashable] = set()
        self.arrived: Counter[Hashable] = Counter()
        self.sent_anew: set[Hashable] = set()

    @property
    def duplicated(self) -> list[Hashable]:
        return [name for name, count in self.arrived.items() if count > 1 and name not in self.sent_anew]

    @property
    def lost(self) -> set[Hashable]:
        """Reported stored, and never arrived."""
        return self.stored - self.arrived.keys()

    def figures(self, may_be_lost: Collection[Hashable], because: str) -> dict[str, int]:
        return {
            "sent": len(self.sent),
            "stored": len(self.stored),
            "acknowledged": len(self.acknowledged),
            "delivered": len(self.arrived),
            "duplicated": len(self.duplicated),
            "lost": len(self.lost.difference(may_be_lost)),
            **({"sent anew by the broker": len(self.sent_anew)} if self.sent_anew else {}),
            **({because: len(self.lost.intersection(may_be_lost))} if may_be_lost else {}),
        }


class Tally:
    """Of one run. faults: how many of each kind it has met. notes: what else it has measured."""

    def __init__(self, run: str, levels: Iterable[int] = LEVELS) -> None:
        self.run = run
        self.counts = {qos: Counts() for qos in levels}
        self.faults: Counter[str] = Counter()
        self.notes: list[str] = []

    def check(
        self,
        *,
        may_be_lost: Collection[Hashable] = (),
        because: str = "",
    ) -> None:
        """Print, and hold it to what has to be so: nothing lost, QoS 2 once, and nothing that nobody has sent.

        may_be_lost: messages of which nobody promises more, `because` they are so.
        """
        self.report(may_be_lost, because)
        for qos, counts in self.counts.items():
            lost = counts.lost.difference(may_be_lost)
            assert not lost, f"{self}: QoS {qos} lost {some(lost)}"
            unknown = counts.arrived.keys() - counts.sent
            assert not unknown, f"{self}: QoS {qos} nobody has sent {some(unknown)}"
            if qos == 2:
                assert not counts.duplicated, f"{self}: QoS 2 more than once {some(counts.duplicated)}"

    def report(self, may_be_lost: Collection[Hashable] = (), because: str = "") -> None:
        """Print it, and have it among those of all."""
        figures = {qos: counts.figures(may_be_lost, because) for qos, counts in self.counts.items()}
        ALL.append((self.run, self.faults, figures, self.notes))
        print(*lines_of(*ALL[-1]), sep="\n")

    def __str__(self) -> str:
        return f"{self.run}, IOTWIRE_FAULT_SEED={SEED}"


# What was reported, to be said again when the tests are over.
Report = tuple[str, Counter[str], dict[int, dict[str, int]], list[str]]
ALL: list[Report] = []


def some(names: Iterable[Hashable]) -> list[Hashable]:
    return sorted(names, key=str)[:10]


def say_faults(faults: Counter[str]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(faults.items())) or "none"


def lines_of(
    run: str, faults: Counter[str], figures: dict[int, dict[str, int]], notes: Iterable[str] = ()
) -> Iterator[str]:
    yield f"{run} (seed {SEED}; faults: {say_faults(faults)})"
    for qos, each in figures.items():
        yield f"  QoS {qos}: " + ", ".join(f"{name} {count}" for name, count in each.items())
    for note in notes:
        yield f"  {note}"


def summary() -> Iterator[str]:
    """Every run, and the sum of all."""
    faults: Counter[str] = Counter()
    sums: dict[int, Counter[str]] = {qos: Counter() for qos in LEVELS}
    for report in ALL:
        yield from lines_of(*report)
        faults += report[1]
        for qos, figures in report[2].items():
            sums[qos].update(figures)
    ends = Counter({kind: faults[kind] for kind in ENDS})
    yield ""
    yield f"kills and cuts: {ends.total()} ({say_faults(ends)}); other faults: {say_faults(faults - ends)}"
    yield from list(lines_of("all runs", faults, {qos: dict(each) for qos, each in sums.items() if each}))[1:]
