"""The arguments of ``set``: rows and ``COLUMN=VALUE``, as in ``accounts set 10 11 orig_tag=gold``.

Rule: the rows come first. A word after the first column would be part of a value whose quotes are missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Literal, NamedTuple, cast

import typer

from identengine.book.items import LISTS, ItemChange
from identengine.book.mistakes import unknown_column
from identengine.errors import expected, quoted, sentences
from identengine.model.records import Account, Client, Did

_HINT = "COLUMN=VALUE"
_assignment = re.compile(r"([^=]*?)\s*([+-]?)=(.*)", re.DOTALL).fullmatch


class ColumnArguments(NamedTuple):
    """The arguments of ``set``."""

    keys: tuple[str, ...]
    """Ids, names or numbers of the rows."""
    cells: dict[str, str]
    """Column name to its new value."""
    items: tuple[ItemChange, ...]
    """Items that lists get or lose."""


def cells_in(arguments: Sequence[str], record: type[Client | Account | Did]) -> dict[str, str]:
    """Return the cells of ``COLUMN=VALUE`` arguments. Raise BadParameter, which names every mistake.

    A password is refused, since every user of the machine can read command lines.
    """
    found = _Columns(record, with_items=False)
    for argument in arguments:
        found.take(argument)
    return found.done().cells


def columns_in(
    arguments: Sequence[str], record: type[Client | Account | Did], is_name: Callable[[str], bool]
) -> ColumnArguments:
    """Return the rows and the columns of the arguments of ``set``. Raise BadParameter, which names every mistake.

    ``is_name`` returns True if a row has this name. It is called only for a text with ``=`` and no column before
    it, since a name may have ``=`` in it.
    """
    found = _Columns(record, with_items=record is Account)

    def is_key(argument: str) -> bool:
        return not found.names_column(argument) and ("=" not in argument or is_name(argument))

    keys = tuple(takewhile(is_key, arguments))
    for argument in arguments[len(keys) :]:
        found.take(argument)
    if len(keys) == len(arguments):
        found.wrong.append(expected("COLUMN=VALUE, for example name=Acme", keys[-1]))
    return found.done()._replace(keys=keys)


class _Columns:
    """Collects columns, their values and the mistakes in them."""

    def __init__(self, record: type[Client | Account | Did], *, with_items: bool) -> None:
        self._columns = record.__struct_fields__
        self._with_items = with_items
        self._cells: dict[str, str] = {}
        self._items: list[ItemChange] = []
        self.wrong: list[str] = []

    def names_column(self, argument: str) -> bool:
        """Return True if a text assigns a value to a column of the table."""
        found = _assignment(argument)
        return found is not None and found[1].strip() in self._columns

    def take(self, argument: str) -> None:
        """Add an argument, or a mistake in it."""
        found = _assignment(argument)
        if found is None:
            text = expected("COLUMN=VALUE, for example name=Acme", argument)
            if self._cells or self._items:
                text = sentences(text, "Write a value with blanks in quotes. Rows come before the columns.")
            self.wrong.append(text)
            return
        name, sign, value = found.groups()
        column = name.strip()
        if column not in self._columns:
            self.wrong.append(f"{name}: {unknown_column(name, self._columns)}")
        elif column == "password":
            self.wrong.append(
                "password: other users can read command lines. Use `identengine accounts password set` instead."
            )
        elif sign and not (self._with_items and column in LISTS):
            why = "only ident and gateways are lists" if self._with_items else "only accounts have lists"
            self.wrong.append(f"{column}: {expected(f'{column}=VALUE', argument)} ({why})")
        elif column in (self._cells if sign else {item.column for item in self._items}):
            self.wrong.append(f"{column}: expected either a whole list or items with += and -=, got both")
        elif column in self._cells:
            self.wrong.append(f"{column}: expected once, got a second value, {quoted(value)}")
        elif sign:
            self._items.append(ItemChange(column, cast(Literal["+", "-"], sign), value))
        else:
            self._cells[column] = value

    def done(self) -> ColumnArguments:
        """Return the columns. Raise BadParameter."""
        if self.wrong:
            raise typer.BadParameter("; ".join(self.wrong), param_hint=_HINT)
        return ColumnArguments((), self._cells, tuple(self._items))
