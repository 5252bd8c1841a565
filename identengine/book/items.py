"""Items of a list that an edit adds or removes: ``ident+=V`` and ``gateways-=V`` (interfaces.md 2).

Rule: two spellings of one network, number or gateway are the same item (engine.md 2.1 to 2.4).
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Literal, NamedTuple

from identengine.book.columns import ACCOUNT_CONVERTERS, read_number
from identengine.book.mistakes import Mistake, RowError, cell_text
from identengine.errors import counted, expected, quoted, sentences
from identengine.model.addresses import parse_network
from identengine.model.records import Account, IdentBy

LISTS = ("ident", "gateways")
"""The columns that hold lists."""
_NAMED = 5
"""Items that a message names."""


class ItemChange(NamedTuple):
    """The items that an edit adds to a list or removes from it."""

    column: str
    sign: Literal["+", "-"]
    text: str
    """The items as the operator wrote them."""


class ItemsChanged(NamedTuple):
    """A list after an :class:`ItemChange`."""

    items: tuple[str, ...]
    idle: tuple[str, ...]
    """Items that the list had already, or that it did not have."""


def changed_items(row: Account, items: tuple[str, ...], change: ItemChange) -> ItemsChanged:
    """Return the items of the list after the change. Raise RowError if it has no item that can be read."""
    named = _items_in(change)
    has = {_form(change.column, row.ident_by, item): item for item in items}
    forms = {_form(change.column, row.ident_by, item): item for item in named}
    if change.sign == "+":
        added = {form: item for form, item in forms.items() if form not in has}
        return ItemsChanged((*items, *added.values()), tuple(has[form] for form in forms if form in has))
    idle = tuple(item for form, item in forms.items() if form not in has)
    left = tuple(item for form, item in has.items() if form not in forms)
    if change.column == "ident" and items and not left:
        text = f"{quoted(items[0])} is the last item. Use ident=V to replace it, or disable the account."
        raise RowError([Mistake("ident", cell_text(change.text), text)])
    return ItemsChanged(left, idle)


def has_already(change: ItemChange, item: str, key: object) -> Mistake:
    """Return the warning for an item that the list of an account had before it was added."""
    one = f"account {key} has {quoted(item)} already"
    return Mistake(change.column, item, one, f"{{}} accounts have {quoted(item)} already: {{}}")


def has_not(change: ItemChange, item: str, row: Account, count: int) -> Mistake:
    """Return the mistake for an item that no account has. ``row`` is the first of the accounts."""
    if count > 1:
        text = f"none of the {counted(count, 'account')} has {quoted(item)}"
        return Mistake(change.column, item, text)
    items = getattr(row, change.column)
    near = get_close_matches(item, items, n=1) if len(items) > 1 else ()
    text = f"account {row.id} does not have {quoted(item)}"
    if near:
        return Mistake(change.column, item, f"{text}; did you mean {quoted(near[0])}?")
    more = f" and {len(items) - _NAMED:,} more" if len(items) > _NAMED else ""
    has = f"It has {', '.join(map(quoted, items[:_NAMED]))}{more}." if items else f"It has no {change.column}."
    return Mistake(change.column, item, sentences(text, has))


def _items_in(change: ItemChange) -> tuple[str, ...]:
    try:
        found = ACCOUNT_CONVERTERS[change.column](change.text)
    except ValueError as error:
        raise RowError([Mistake(change.column, cell_text(change.text), str(error))]) from None
    if not isinstance(found, tuple) or not found:
        text = expected(f"an item after {change.column}{change.sign}=", change.text)
        raise RowError([Mistake(change.column, cell_text(change.text), text)])
    return found


def _form(column: str, ident_by: IdentBy, item: str) -> object:
    """Return the form in which items are compared. An item that cannot be read is equal to itself alone."""
    if column == "gateways":
        return item.casefold()
    try:
        if ident_by is IdentBy.IP:
            return parse_network(item)[0]
        return read_number(item) if ident_by is IdentBy.ANI else item
    except ValueError:
        return item
