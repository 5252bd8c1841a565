"""``COLUMN=VALUE`` arguments and the rows that they make, with mistakes told as an import tells them.

:mod:`identengine.book.columns` does the reading; it is imported here, when a command runs, and nowhere else in the
CLI.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import typer

from identengine.errors import LoadError, Problem
from identengine.model.records import Account, Client, Did

if TYPE_CHECKING:
    from identengine.book.mistakes import Mistake
    from identengine.store.vault import Vault

PLACE = "command line"
"""What stands for the file in a located mistake."""

T = TypeVar("T")


def read(arguments: Sequence[str], row: type[Client | Account | Did]) -> dict[str, str]:
    """Return the cells that ``COLUMN=VALUE`` arguments name; others are wrong usage, and all of it is told.

    A password is refused: what stands on a command line can be read by everybody on the machine.
    """
    from identengine.book.mistakes import unknown_column

    columns = row.__struct_fields__
    found: dict[str, str] = {}
    wrong: list[str] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        column = name.strip()
        if not equals:
            wrong.append(f"{argument!r}: COLUMN=VALUE is wanted (name=Acme); an empty value clears")
        elif column not in columns:
            wrong.append(f"{name}: {unknown_column(name, columns)}")
        elif column in found:
            wrong.append(f"{column} {value!r}: each column may be given once")
        elif column == "password":
            wrong.append("password: is not taken here, where others can read it; use `accounts password set`")
        else:
            found[column] = value
    if wrong:
        raise typer.BadParameter("; ".join(wrong), param_hint="COLUMN=VALUE")
    return found


def mistake(column: str, value: str, expected: str) -> LoadError:
    """Return the error that names a column of the command line, its value and what would be right."""
    return LoadError([Problem(PLACE, None, column, value, expected)])


def client(given: dict[str, str], before: Client | None = None) -> Client:
    """Return a new client of these cells, or ``before`` with them changed. Raises LoadError."""
    from identengine.book.records import client_from

    return _read(lambda: client_from(given, before, partial=True))


def account(given: dict[str, str], before: Account | None = None) -> tuple[Account, list[Problem]]:
    """Return a new account of these cells, or ``before`` with them changed, and warnings. Raises LoadError."""
    from identengine.book.records import account_from

    warnings: list[Mistake] = []
    made = _read(lambda: account_from(given, before, None, partial=True, warnings=warnings))
    return made, _located(warnings)


def account_with_password(password: str, before: Account, vault: Vault) -> Account:
    """Return ``before`` with this password, encrypted. Raises LoadError."""
    from identengine.book.records import account_from

    return _read(lambda: account_from({"password": password}, before, vault, partial=True))


def did(given: dict[str, str], before: Did | None = None) -> Did:
    """Return a new DID of these cells, or ``before`` with them changed. Raises LoadError."""
    from identengine.book.records import did_from

    return _read(lambda: did_from(given, before, partial=True))


def _read(make: Callable[[], T]) -> T:
    from identengine.book.mistakes import RowError

    try:
        return make()
    except RowError as error:
        raise LoadError(_located(error.mistakes)) from error


def _located(mistakes: Sequence[Mistake]) -> list[Problem]:
    return [Problem(PLACE, None, one.column, one.value, one.expected) for one in mistakes]
