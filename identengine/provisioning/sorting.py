"""The order of lists: numbers as numbers, addresses as addresses, texts without case.

Rule: rows without a value are last, in both directions. Rows with equal values stay in the order of their keys.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from socket import inet_aton
from typing import Any, NamedTuple, TypeAlias, TypeVar

from identengine.model.addresses import parse_network
from identengine.model.records import Account, IdentBy

R = TypeVar("R")
Key: TypeAlias = tuple[object, ...] | str | float | None
"""The value by which a row is sorted, or None if it has no value."""

_IPV4_BITS = 32
_CLASSES = {IdentBy.IP: 0, IdentBy.NAME: 1, IdentBy.ANI: 2}
"""The order of the kinds of ident in a sorted list: addresses, then names, then numbers."""


class Order(NamedTuple):
    """One column of an order, and its direction. ``key`` returns the value of a row."""

    key: Callable[..., Key]
    descending: bool = False


def ordered(rows: Iterable[R], orders: Sequence[Order], most: int | None = None) -> Iterator[R]:
    """Yield the rows in an order of several columns. Yield only the first ``most`` rows if that is not None."""
    if most is not None:
        return iter(heapq.nsmallest(most, rows, key=_key(orders)))
    found = list(rows)
    for order in reversed(orders):
        found.sort(key=_nulls_last(order), reverse=order.descending)
    return iter(found)


class _Reversed(NamedTuple):
    """A value that sorts in the opposite direction."""

    value: Any

    def __lt__(self, other: tuple[Any, ...]) -> bool:
        less: bool = other[0] < self.value
        return less


def _key(orders: Sequence[Order]) -> Callable[[object], tuple[object, ...]]:
    """Return the key of a row for all columns."""
    (key, descending), *others = orders

    def of_first(row: object) -> tuple[object, ...]:
        value = key(row)
        return (value is None, _Reversed(value) if descending and value is not None else value)

    if not others:
        return of_first
    of_others = _key(others)
    return lambda row: of_first(row) + of_others(row)


def _nulls_last(order: Order) -> Callable[[object], tuple[bool, Key]]:
    key, descending = order

    def of(row: object) -> tuple[bool, Key]:
        value = key(row)
        return ((value is None) is not descending, value)

    return of


def value_key(value: object) -> Key:
    """Return the key of the value of a column."""
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, tuple):
        return tuple([str(item).casefold() for item in value]) or None
    return str(value).casefold()


def address_key(text: str | None) -> Key:
    """Return the key of a text that may be an address or a network: IPv4 first, then IPv6, then other texts."""
    if text is None:
        return None
    try:
        if "/" not in text and ":" not in text:
            return (0, inet_aton(text), _IPV4_BITS)
        network, _ = parse_network(text)
    except (OSError, ValueError):
        return (2, text.casefold(), 0)
    return (0 if len(network.address) * 8 == _IPV4_BITS else 1, network.address, network.length)


def ident_key(account: Account) -> Key:
    """Return the key of the first ident of an account."""
    first = account.ident[0] if account.ident else ""
    kind = _CLASSES[account.ident_by]
    return (kind, address_key(first) if account.ident_by is IdentBy.IP else first.casefold())
