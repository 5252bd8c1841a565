"""The usual way compared with the general way alone: random books, streams of all methods, every visible effect.

Two deciders take the same steps. One decides usual messages by the usual way, and the other decides all messages
by the general way. Answers, counters, callbacks, legs, uses of limits, and the set restored from the mirror have
to be equal. A difference is shrunk and printed with its seed. ``WAYS_SEED`` runs one scenario again.
"""

from __future__ import annotations

import os
from itertools import chain, count

import pytest
from property.ways.comparison import compare, usual_side
from property.ways.ladder import ENTRIES, GENERAL, STEPS, UNREACHED
from property.ways.oraclecheck import OracleCheck
from property.ways.reached import Reached, function_named
from property.ways.report import explained
from property.ways.streams import ORDERLY_PERCENT, scenario
from support.thorough import BUSY_SECONDS, amounts, times

PARTS = 4
"""Number of tests that share the messages, so that several processes can run them."""
MESSAGES = 500
"""Number of messages in a scenario, at least."""
LEAST, MOST = 3_000, 150_000
"""Numbers of messages that are traced: at least, and at most if a statement is still unreached."""
RARE = (158, 70, 55, 39, 20)
"""Seeds of scenarios that reach statements which few others reach. With these first, few messages suffice."""
SEED = os.environ.get("WAYS_SEED")


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("messages", amounts(times(50_000, 12_000), 1_000_000, seconds=3600))
def test_both_ways_decide_alike(messages: int, part: int) -> None:
    check = OracleCheck()
    first = part * 1_000_000
    made = 0
    while made < messages // PARTS:
        one = scenario(int(SEED) if SEED else first, MESSAGES)
        if (found := compare(one, watch=check)) is not None:
            pytest.fail(explained(found, one), pytrace=False)
        if SEED:
            return
        made += one.messages
        first += 1
    assert check.compared > made / 100, "the oracle sees a share of the answers too"


def reached_by(paths: tuple[str, ...], orderly: int = ORDERLY_PERCENT) -> tuple[Reached, int]:
    """Return the statements that streams reach in functions, and the number of messages until all are reached."""
    reached = Reached([function_named(path) for path in paths])
    made = 0
    seeds = chain(RARE, count())
    while made < LEAST or (made < MOST and unreached(reached)):
        one = scenario(next(seeds), MESSAGES, orderly)
        made += one.messages
        side = usual_side(one.setup)
        with reached.watching():
            for step in one.steps:
                side.take(step)
        side.close()
    return reached, made


def unreached(reached: Reached) -> list[str]:
    return [found for found in reached.missed() if found not in UNREACHED]


@pytest.mark.timeout(BUSY_SECONDS)
def test_the_streams_reach_every_return_of_the_general_way() -> None:
    reached, _ = reached_by(GENERAL, orderly=20)
    assert "\n".join(unreached(reached)) == ""


@pytest.mark.timeout(BUSY_SECONDS)
@pytest.mark.skipif(not ENTRIES, reason="there is only the general way")
def test_at_least_half_of_the_messages_are_usual_and_every_branch_is_reached() -> None:
    reached, made = reached_by((*ENTRIES, *STEPS))
    usual = sum(reached.values[path.partition(":")[2]] for path in ENTRIES)
    print(f"\n{usual} of {made} messages were usual")
    assert usual >= made / 2
    assert "\n".join(unreached(reached)) == ""
