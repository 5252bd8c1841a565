"""``COLUMN=VALUE`` and ``FIELD=VALUE`` arguments, and mistakes in them told as an import tells them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from identengine.errors import LoadError, Problem
from identengine.rows import Mistake, RowError, unknown_column

PLACE = "command line"
"""What stands for the file in a located mistake."""

T = TypeVar("T")


def cells(arguments: Sequence[str], columns: Sequence[str]) -> dict[str, str]:
    """Return the cells that ``COLUMN=VALUE`` arguments name. Raises LoadError with every mistake.

    A password is refused: what stands on a command line can be read by everybody on the machine.
    """
    found: dict[str, str] = {}
    mistakes: list[Mistake] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        column = name.strip()
        if not equals:
            mistakes.append(Mistake(None, argument, "COLUMN=VALUE is wanted (name=Acme); an empty value clears"))
        elif column not in columns:
            mistakes.append(Mistake(name, None, unknown_column(name, columns)))
        elif column in found:
            mistakes.append(Mistake(column, value, "each column may be given once"))
        elif column == "password":
            mistakes.append(
                Mistake(column, None, "is not taken here, where others can read it; use `accounts password set`")
            )
        else:
            found[column] = value
    if mistakes:
        raise located(mistakes)
    return found


def read(make: Callable[[], T]) -> T:
    """Return what ``make`` makes of the cells; its RowError becomes a LoadError located on the command line."""
    try:
        return make()
    except RowError as error:
        raise located(error.mistakes) from error


def located(mistakes: Sequence[Mistake]) -> LoadError:
    """Return the error that names each mistake, its column and value."""
    return LoadError(problems(mistakes))


def problems(mistakes: Sequence[Mistake]) -> list[Problem]:
    """Return mistakes or warnings with their place."""
    return [Problem(PLACE, None, mistake.column, mistake.value, mistake.expected) for mistake in mistakes]
