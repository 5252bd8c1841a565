"""The search for the worst message of each kind, by processor time.

For each kind, transport and token it tries every filler once. Then it changes one gene of the worst message at a
time. A change stays if the message costs more. The seed makes the messages of a run the same; their times differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from random import Random
from typing import NamedTuple

from benchmarks import served
from benchmarks.hostile.inputs import (
    DEFECTS,
    METHODS,
    PLACES,
    TOKEN,
    WRITERS,
    Encoding,
    Genes,
    build,
    mutated,
    random_genes,
)
from benchmarks.hostile.subject import DATAGRAM_BYTES, MESSAGE_BYTES, Cost, Subject, Transport, quiet
from benchmarks.results import Row

SEED = 13
CAPS: dict[Transport, int] = {"UDP": DATAGRAM_BYTES, "TCP": MESSAGE_BYTES - 4}
"""Largest message that the search makes, in bytes."""
SMALLER = (200, 1400)
"""Smaller size classes, in bytes: the worst message of each kind is also built in these sizes."""
SEARCHED, SEARCHED_QUICK = 80, 3
"""Messages that the search tries for each kind, transport, token and encoding."""
ENCODINGS: tuple[Encoding, ...] = ("json", "msgpack")
_CONFIRMED = 3
"""Worst messages of the search that are measured again, since a disturbance makes a time too long."""


class Kind(NamedTuple):
    """A kind of message: right messages of a method, or messages of all methods with one error."""

    name: str
    defect: str
    method: str | None


class Worst(NamedTuple):
    """The worst message of a kind."""

    kind: Kind
    transport: Transport
    shown: bool
    encoding: Encoding
    genes: Genes
    cost: Cost
    smaller: dict[int, Cost]

    @property
    def per_kilobyte(self) -> float:
        """Microseconds for each kilobyte of the message, in the size that is worst for its size.

        Messages of a few hundred bytes do not count: their cost is that of any message.
        """
        return max(cost.microseconds * 1024 / cost.sent for cost in (self.cost, self.smaller[SMALLER[-1]]))

    @property
    def reflected(self) -> float:
        """The largest ratio of the bytes answered to the bytes sent, over all sizes."""
        return max(cost.answered / cost.sent for cost in (self.cost, *self.smaller.values()))


KINDS = (
    *(Kind(method, "none", method) for method in METHODS),
    *(Kind(defect, defect, None) for defect in DEFECTS if defect != "none"),
)


def search(*, quick: bool) -> list[Worst]:
    """Return the worst message of each kind, the kinds in their order."""
    found: list[Worst] = []
    with served.folder() as place, ExitStack() as stack:
        subject = Subject(place, stack)
        quiet(lambda: found.extend(_search(subject, SEARCHED_QUICK if quick else SEARCHED)))
        if subject.faults():
            raise AssertionError(f"a message was answered with an internal error: {subject.faults()}")
    return found


def _search(subject: Subject, tries: int) -> Iterator[Worst]:
    random = Random(SEED)
    for kind in KINDS:
        for transport in CAPS:
            for shown in (False, True):
                yield _worst(subject, kind, transport, random, tries, shown=shown)


def _worst(
    subject: Subject, kind: Kind, transport: Transport, random: Random, tries: int, *, shown: bool
) -> Worst:
    token = TOKEN if shown else None
    tried: list[tuple[float, Encoding, Genes]] = []
    for encoding in ENCODINGS:
        best: tuple[float, Genes] | None = None
        for genes in _candidates(kind, encoding, random, tries):
            chosen = genes
            if best is not None and not chosen.filler:  # the fillers are through
                chosen = mutated(best[1], random, encoding, _fixed(kind))
            raw = build(chosen, encoding, CAPS[transport], token)
            if len(raw) > CAPS[transport]:
                continue
            taken = subject.cost(raw, transport, shown=shown, most=2).microseconds
            tried.append((taken, encoding, chosen))
            if best is None or taken > best[0]:
                best = (taken, chosen)
    tried.sort(reverse=True)
    confirmed = [
        (subject.cost(build(genes, encoding, CAPS[transport], token), transport, shown=shown), encoding, genes)
        for _, encoding, genes in tried[:_CONFIRMED]
    ]
    cost, encoding, genes = max(confirmed, key=lambda each: each[0].microseconds)
    smaller = {size: subject.cost(build(genes, encoding, size, token), transport, shown=shown) for size in SMALLER}
    return Worst(kind, transport, shown, encoding, genes, cost, smaller)


def _candidates(kind: Kind, encoding: Encoding, random: Random, tries: int) -> Iterator[Genes]:
    """Yield genes with each filler, at a random place, then genes without a filler, which stand for a change."""
    fillers = list(WRITERS[encoding].fillers)
    random.shuffle(fillers)
    for filler in fillers[:tries]:
        genes = random_genes(random, encoding, kind.defect, kind.method)
        yield genes._replace(filler=filler, place=random.choice(PLACES))
    for _ in range(tries - len(fillers)):
        yield random_genes(random, encoding, kind.defect, kind.method)._replace(filler="")


def _fixed(kind: Kind) -> frozenset[str]:
    return frozenset({"defect"} if kind.method is None else {"defect", "method"})


def rows(found: list[Worst]) -> list[Row]:
    """Return the table of the worst messages."""
    worst = max(found, key=lambda each: each.cost.microseconds)
    return [
        Row(
            f"**{each.kind.name}**" if each is worst else each.kind.name,
            {
                "bytes": each.cost.sent,
                "cost": each.cost.microseconds,
                "per_kilobyte": each.per_kilobyte,
                "reflected": each.reflected,
                **{f"at_{size}": cost.microseconds for size, cost in each.smaller.items()},
            },
            texts={
                "token": "yes" if each.shown else "no",
                "transport": each.transport,
                "input": _described(each),
            },
        )
        for each in found
    ]


def _described(worst: Worst) -> str:
    genes = worst.genes
    several = f", array of up to {genes.array}" if genes.array else ""
    method = "" if worst.kind.method else f"{genes.method}, "
    name = "JSON" if worst.encoding == "json" else "MessagePack"
    return f"{name}, {method}{genes.filler} in {genes.place}{several}"
