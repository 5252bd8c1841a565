"""The rows that an edit changes: named one by one, or all that match filters.

Rule: an edit that changes many rows reads the table at most once to find them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from identengine.book.mistakes import RowError
from identengine.errors import IdentengineError, LoadError, Problem, quoted, sentences
from identengine.model.records import Account, Client
from identengine.provisioning.listing import NotFoundError, id_in
from identengine.provisioning.rows import R, Rows
from identengine.store.snapshot import View

COMMAND_LINE = "command line"
"""Location of a mistake in an argument, in place of the name of a file."""
_LISTED = 100
"""Largest number of mistakes that are listed. The others are counted (interfaces.md 1)."""
_SUGGESTED = 1
"""Largest number of unknown names for which similar ones are searched, since each search reads the table."""

Choice = Callable[[View], Iterable[R]]
"""Return the rows to change. Raise NotFoundError, RowError or LoadError."""


class NoMatchError(IdentengineError):
    """No row matches the filters of an edit."""


def matching(rows: Rows[R], search: Choice[R]) -> Choice[R]:
    """Return the choice of all rows that ``search`` yields. It raises NoMatchError if there is no such row."""

    def choose(book: View) -> Iterator[R]:
        first = True
        for row in search(book):
            first = False
            yield row
        if first:
            raise NoMatchError(f"no {rows.name} matches. Nothing was changed.")

    return choose


def named(rows: Rows[R], wanted: Sequence[str]) -> Choice[R]:
    """Return the choice of the rows with these keys or names, each once, in this order.

    A single unknown row raises NotFoundError or RowError; several raise LoadError, which lists all of them.
    """

    def choose(book: View) -> list[R]:
        texts = [one for text in wanted for one in rows.spelled(text)]
        if len(texts) == 1:
            return [rows.find(book, texts[0])]
        found: dict[object, R] = {}
        errors: list[tuple[str, IdentengineError]] = []
        known = _by_text(rows, book, texts)
        for text in texts:
            row = known.get(text)
            if row is not None:
                found.setdefault(rows.key(row), row)
                continue
            try:
                row = _find(rows, book, text, suggest=len(errors) < _SUGGESTED)
                found.setdefault(rows.key(row), row)
            except (NotFoundError, RowError) as error:
                errors.append((text, error))
        if len(errors) == 1:
            raise errors[0][1]
        if errors:
            raise LoadError([_located(*one) for one in errors[:_LISTED]], len(errors))
        return list(found.values())

    return choose


def _find(rows: Rows[R], book: View, text: str, *, suggest: bool) -> R:
    if suggest or rows.name == "DID":
        return rows.find(book, text)
    shown = text if id_in(text) is not None else quoted(text)
    raise NotFoundError(f"no {rows.name} {shown} in the book", rows.name, text)


def _by_text(rows: Rows[R], book: View, wanted: Sequence[str]) -> dict[str, R]:
    """Return the rows that can be found by id, or by a name that one row alone has.

    The table is read once for all names. A name that several rows have is left out.
    """
    found: dict[str, R] = {}
    names: dict[str, list[str]] = {}
    if rows.name == "DID":
        return found
    for text in dict.fromkeys(wanted):
        number = id_in(text)
        row = None if number is None else rows.by_key(book, number)
        if row is not None:
            found[text] = row
        else:
            names.setdefault(text.strip().casefold(), []).append(text)
    if not names:
        return found
    same: dict[str, list[R]] = {}
    for row in rows.every(book):
        if isinstance(row, Account | Client) and (folded := row.name.casefold()) in names:
            same.setdefault(folded, []).append(row)
    for folded, texts in names.items():
        for text in texts:
            rows_so = same.get(folded, [])
            exact = [row for row in rows_so if getattr(row, "name", None) == text.strip()] or rows_so
            if len(exact) == 1:
                found[text] = exact[0]
    return found


def _located(text: str, error: IdentengineError) -> Problem:
    """Return the mistake of an argument with its place."""
    if isinstance(error, RowError):
        return error.mistakes[0].located(COMMAND_LINE, None)
    return Problem(COMMAND_LINE, None, None, text, sentences(error))
