"""The active DIDs of one version: one immutable sorted table without an object for each number (engine.md 4.5).

A number of at most 18 digits is an integer of 8 bytes: its digits behind a leading 1, so that ``044`` and ``44``
differ. The few other numbers (letters, ``*``, ``#``, more digits) are kept as text. The integers of an account are
adjacent and ascend; its texts follow them. Only the set of numbers determines this order, so it is the same on
every node and after every import (engine.md 4.3).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator

import msgspec

from identengine.model.numbers import national

_DIGITS = 18


class Packed(msgspec.Struct, frozen=True):
    """Active DIDs of one account, or a run of them, in the form of the table.

    ``codes`` are the integers, ascending, 8 bytes each in the machine's byte order. ``texts`` are the other
    numbers.
    """

    codes: bytes
    texts: tuple[str, ...] = ()

    def runs(self, size: int = 2048) -> Iterable[Packed]:
        """Yield runs of at most ``size`` numbers, so that adding one is a short step."""
        step = size * 8
        for start in range(0, len(self.codes), step):
            yield Packed(self.codes[start : start + step])
        for first in range(0, len(self.texts), size):
            yield Packed(b"", self.texts[first : first + size])


def pack(numbers: Iterable[str], international_prefixes: tuple[str, ...] = ()) -> Packed:
    """Return an account's active DIDs, sorted, without repeats and without international prefix (engine.md 2.1).

    ``numbers`` are in normal form. Sorting is slow, so the process that reads the store does it.
    """
    codes = set()
    texts = set()
    for number in numbers:
        short = national(number, international_prefixes)
        code = _code(short)
        if code is not None:
            codes.add(code)
        elif short:
            texts.add(short)
    return Packed(array("Q", sorted(codes)).tobytes(), tuple(sorted(texts)))


class Owned(msgspec.Struct, frozen=True, gc=False):
    """The numbers of one account: a slice of the table, and its texts."""

    codes: array[int]
    start: int
    end: int
    texts: list[str]

    def __len__(self) -> int:
        return self.end - self.start + len(self.texts)

    def has(self, number: str) -> bool:
        """Return True if the account owns ``number`` (normal form, no international prefix)."""
        code = _code(number)
        if code is None:
            place = bisect_left(self.texts, number)
            return place < len(self.texts) and self.texts[place] == number
        place = bisect_left(self.codes, code, self.start, self.end)
        return place < self.end and self.codes[place] == code

    def nth(self, place: int) -> str:
        """Return the number at ``place``; the first place is 0."""
        in_table = self.end - self.start
        if place < in_table:
            return str(self.codes[self.start + place])[1:]
        return self.texts[place - in_table]


class DidTable:
    """The numbers that each account may show. Fill it with :meth:`add`, then call :meth:`seal`."""

    def __init__(self) -> None:
        self._codes = array("Q")
        self._texts: dict[int, list[str]] = {}
        self._accounts = array("Q")  # ascending once sealed; _ends[i] is where the codes of _accounts[i] end
        self._starts = array("Q")
        self._ends = array("Q")
        self._ascending = True
        self._size = 0

    def add(self, account_id: int, packed: Packed) -> None:
        """Add numbers of an account. The runs of one account must follow each other in ascending order."""
        if not self._accounts or self._accounts[-1] != account_id:
            self._ascending &= not self._accounts or self._accounts[-1] < account_id
            self._accounts.append(account_id)
            self._starts.append(len(self._codes))
            self._ends.append(len(self._codes))
        self._codes.frombytes(packed.codes)
        self._ends[-1] = len(self._codes)
        self._size += len(packed.codes) // 8 + len(packed.texts)
        if packed.texts:
            self._texts.setdefault(account_id, []).extend(packed.texts)

    def seal(self) -> None:
        """Complete the table, which never changes afterwards. Fast if accounts were added in ascending order."""
        accounts = self._accounts
        if not self._ascending:
            order = sorted(range(len(accounts)), key=accounts.__getitem__)
            self._starts = array("Q", (self._starts[i] for i in order))
            self._ends = array("Q", (self._ends[i] for i in order))
            self._accounts = array("Q", (accounts[i] for i in order))

    def __len__(self) -> int:
        return self._size

    def of(self, account_id: int) -> Owned:
        """Return the numbers of an account."""
        place = bisect_left(self._accounts, account_id)
        if place == len(self._accounts) or self._accounts[place] != account_id:
            return Owned(self._codes, 0, 0, [])
        return Owned(self._codes, self._starts[place], self._ends[place], self._texts.get(account_id, []))

    def dismantle(self, step: int) -> Iterator[None]:
        """Empty a table that is no longer in use, ``step`` texts at a time. Yield after each step."""
        while self._texts:
            _, texts = self._texts.popitem()
            while texts:
                del texts[-step:]
                yield


def _code(number: str) -> int | None:
    # isdecimal accepts digits of other scripts, but the normal form is ASCII.
    return int("1" + number) if number.isdecimal() and len(number) <= _DIGITS else None
