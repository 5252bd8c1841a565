"""Numbers of counters are distinct for all ids of a book, and the mirror can store them (engine.md 5.2, 5.8)."""

from __future__ import annotations

from itertools import chain

import msgspec
import pytest

from identengine.book.columns import MAX_INTEGER
from identengine.calls.levels import account_counter, client_counters, client_of, clients_of
from identengine.model.records import Direction

IDS = (1, 2, 3, 2**62 - 1, 2**62, MAX_INTEGER - 1, MAX_INTEGER)


@pytest.mark.parametrize("direction", Direction)
def test_a_counter_identifies_its_owner(direction: Direction) -> None:
    for one in IDS:
        assert account_counter(one, direction) >> 1 == one
        assert [client_of(counter) for counter in client_counters(one, direction)] == [
            (one, direction),
            (one, None),
        ]
    assert clients_of(tuple(chain.from_iterable(client_counters(one, direction) for one in IDS))) == list(IDS)


def test_no_two_counters_share_a_number() -> None:
    clients = [client_counters(one, direction) for one in IDS for direction in Direction]
    assert len(set(chain.from_iterable(clients))) == 3 * len(IDS)
    assert len({account_counter(one, direction) for one in IDS for direction in Direction}) == 2 * len(IDS)


def test_the_mirror_can_store_the_counters_of_the_largest_ids() -> None:
    for direction in Direction:
        counters = (account_counter(MAX_INTEGER, direction), *client_counters(MAX_INTEGER, direction))
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(counters), type=tuple[int, ...]) == counters
