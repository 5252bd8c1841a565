"""Attacks on a real server, and the cost of the worst message of each kind.

``python -m benchmarks.hostile [--quick] [--only WORD] [--json FILE] [--before FOLDER]``. Two tables:

- The times that good peers wait, alone and during each attack. Both alternate in one run. The server has one core;
  the good peers and the attackers share the other one. Attackers have a low priority.
- The processor time of one message of each kind, with and without the token of its switch. A seeded search finds
  the worst message. These results go to a second file next to FILE, ``hostile_messages.json``.

``--before`` adds the figures of an earlier run, whose two files are in FOLDER.
All traffic stays on loopback. A good answer that is wrong ends the run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import msgspec

from benchmarks import machine, served
from benchmarks.hostile import costs, requests, written
from benchmarks.hostile.attacks import FLOOD_BYTES, FLOOD_DATAGRAMS, Attack, attacks
from benchmarks.hostile.sending import Sent, attacker
from benchmarks.hostile.server import Target, attacked
from benchmarks.hostile.victims import CONNECT_RATE, PATIENCE, SWITCH_RATE, VICTIMS, Waits
from benchmarks.results import Column, Results, Row, arguments, load, publish, today

ROUNDS, ROUNDS_QUICK = 3, 1
SECONDS, SECONDS_QUICK = 2.0, 0.3
"""Duration of a measurement, alone and during an attack."""
TIED, TIED_QUICK = 10_000, 1_000
"""Accounts that share one address, for the flood of explain."""
WARM_UP, WARM_UP_QUICK = 0.5, 0.2
"""Seconds between the begin of an attack and that of the measurement."""
RECOVERY = 30.0
"""Longest time that a good peer may be without a quick answer after an attack, in seconds."""
_QUICK_ANSWER = 50.0
"""A wait that shows that the server is free again, in milliseconds."""


def main() -> None:
    """Measure both, print two tables, and write the results."""
    parser = arguments(__doc__)
    parser.add_argument("--only", metavar="WORD", help="run only the attacks whose names contain WORD")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="show the results of this folder, too")
    given = parser.parse_args()
    os.sched_setaffinity(0, {machine.cores()[0]})
    messages: Path | None = given.json and given.json.with_name("hostile_messages.json")
    before: Path | None = given.before
    word, quick = given.only or "", given.quick
    with served.folder() as place, attacked(place, TIED_QUICK if quick else TIED) as target:
        during = _attack_results(target, word, quick=quick)
        publish(compared(during, before, ("ratio_p50", "ratio_p99", "answered")), given.json)
        rows = [] if word else [*written.rows(quick=quick), *requests.rows(target, quick=quick)]
        _check_log(place / "log")
    if not word:
        publish(compared(_message_results(rows, quick=quick), before, ("cost", "reflected")), messages)


def compared(results: Results, before: Path | None, names: Sequence[str]) -> Results:
    """Return results with some figures of an earlier run next to them."""
    if before is None:
        return results
    earlier = {_key(row): row.figures for row in load(before / f"{results.name}.json").rows}
    for row in results.rows:
        old = earlier.get(_key(row), {})
        row.figures.update({f"before_{name}": old[name] for name in names if name in old})
    columns = {column.figure: column for column in results.columns}
    added = [Column(f"before_{name}", f"before: {name}", columns[name].decimals) for name in names]
    return msgspec.structs.replace(results, columns=[*results.columns, *added])


def _key(row: Row) -> tuple[str, ...]:
    """Return the texts by which a row is the same in another run."""
    same = (text for name, text in sorted(row.texts.items()) if name != "input")
    return (row.case.strip("*"), *same)


def _attack_results(target: Target, word: str, *, quick: bool) -> Results:
    rounds, seconds = (ROUNDS_QUICK, SECONDS_QUICK) if quick else (ROUNDS, SECONDS)
    rows = [
        _row(target, attack, victim, rounds, seconds, WARM_UP_QUICK if quick else WARM_UP)
        for attack in attacks()
        if word in attack.name
        for victim in (attack.victims[:1] if quick else attack.victims)
    ]
    return Results(
        name="hostile",
        title="Good peers during attacks",
        method=f"Milliseconds until the answer. The good switch sends {SWITCH_RATE} `identify` datagrams a second "
        f"from an address of its own. The others make {CONNECT_RATE} connections a second and ask once on each. "
        f"No answer within {PATIENCE:.0f} s counts as {PATIENCE * 1e3:.0f} ms. Floods of datagrams have at most "
        f"{FLOOD_BYTES * 8 / 1e6:.0f} Mbit/s and {FLOOD_DATAGRAMS:,} datagrams a second. Alone and attacked "
        f"alternate, {rounds} times {seconds:g} s each; a ratio is the median of the rounds.",
        quick=quick,
        date=today(),
        machine=machine.describe(),
        first="attack",
        columns=[
            Column("victim", "good peer"),
            Column("rate", "attack, messages or connections/s"),
            Column("mbits", "Mbit/s", 1),
            Column("alone_p50", "alone: p50", 2),
            Column("alone_p99", "p99", 2),
            Column("alone_max", "max", 2),
            Column("p50", "attacked: p50", 2),
            Column("p99", "p99", 2),
            Column("max", "max", 2),
            Column("ratio_p50", "ratio of p50", 1),
            Column("ratio_p99", "of p99", 1),
            Column("ratio_max", "of max", 1),
            Column("answered", "answered, %", 1),
        ],
        rows=rows,
        caveats=["The maximum is that of one round in the middle. Other guests of the host disturb it most."],
    )


def _row(target: Target, attack: Attack, victim: str, rounds: int, seconds: float, warm_up: float) -> Row:
    alone: list[Waits] = []
    during: list[Waits] = []
    sent, took = Sent(), 0.0
    ask = VICTIMS[victim]
    for _ in range(rounds):
        _recover(target)
        alone.append(ask(target, seconds))
        began = time.monotonic()
        until = began + warm_up + seconds
        with attacker(lambda until=until: attack.run(target, until, sent)):  # type: ignore[misc]  # binds the moment
            time.sleep(warm_up)
            during.append(ask(target, seconds))
        took += until - began
    figures = {
        "rate": sent.messages / took,
        "mbits": sent.size * 8 / took / 1e6,
        "answered": 100 * min(waits.answered for waits in during),
    }
    for name in ("p50", "p99", "max"):
        before = [getattr(waits, name) for waits in alone]
        after = [getattr(waits, name) for waits in during]
        figures[f"alone_{name}"], figures[name] = median(before), median(after)
        figures[f"ratio_{name}"] = median(b / a for a, b in zip(before, after, strict=True))
    return Row(attack.name, figures, texts={"victim": victim})


def _recover(target: Target) -> None:
    """Wait until all good peers are answered quickly again."""
    end = time.monotonic() + RECOVERY
    for name, ask in VICTIMS.items():
        while (waits := ask(target, 0.02)).p50 > _QUICK_ANSWER:
            if time.monotonic() > end:
                raise AssertionError(f"{name} was not answered within {RECOVERY:.0f} s after an attack: {waits}")


def _check_log(log: Path) -> None:
    """Raise if the server logged a fault."""
    text = log.read_text(encoding="utf-8")
    if "Traceback" in text:
        raise AssertionError(text[text.index("Traceback") :])


def _message_results(others: list[Row], *, quick: bool) -> Results:
    found = costs.search(quick=quick)
    worst = max(found, key=lambda each: each.cost.microseconds)
    densest = max(found, key=lambda each: each.per_kilobyte)
    loudest = max(
        (each for each in found if each.transport == "UDP" and not each.shown), key=lambda e: e.reflected
    )
    return Results(
        name="hostile_messages",
        title="The worst message of each kind",
        method="Microseconds of processor time for one message, from its bytes to its answer: framing, decoding, "
        "decision, set of calls with its mirror on tmpfs, encoding. The switch has a token, or over RADIUS a "
        "secret. Without it only the address fits. For each row a search with a fixed seed tried many messages of "
        "the largest size. Those of RADIUS and RESP are not searched, but written by hand. The least of several "
        "times counts. Two columns have the same message in smaller sizes. *Reflected* is the largest ratio of "
        "the bytes answered to the bytes sent, over the three sizes. The rows of HTTP and TLS are the time of the "
        "whole process that serves them, socket included, for one connection each.",
        quick=quick,
        date=today(),
        machine=machine.describe(),
        first="kind",
        columns=_message_columns(),
        rows=[*costs.rows(found), *others],
        caveats=[
            f"Worst of all: {_named(worst)}, {worst.cost.microseconds:,.0f} µs.",
            f"Worst for its size: {_named(densest)}, {densest.per_kilobyte:,.0f} µs for a KB.",
            f"Largest reflection over UDP without token: {loudest.kind.name}, {loudest.reflected:.1f} times.",
        ],
    )


def _message_columns() -> list[Column]:
    return [
        Column("token", "token"),
        Column("transport", "transport"),
        Column("bytes", "bytes"),
        Column("cost", "µs", 0),
        Column("per_kilobyte", "µs/KB", 0),
        Column("reflected", "reflected", 1),
        *(Column(f"at_{size}", f"µs, {size:,} bytes", 0) for size in costs.SMALLER),
        Column("input", "worst input"),
    ]


def _named(worst: costs.Worst) -> str:
    return f"{worst.kind.name}, {worst.transport}, {'with' if worst.shown else 'without'} token"


if __name__ == "__main__":
    main()
