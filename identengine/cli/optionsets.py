"""Sets of options that several commands share: each field of a set is an option of the command.

Rule: a new field in a set is at once an option of every command with a parameter of this type.
"""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any, get_type_hints


class OptionSet:
    """A frozen dataclass whose fields are options, annotated as the parameters of a command are."""

    @property
    def is_set(self) -> bool:
        """True if an option of the set was used."""
        return bool(self.used())

    def used(self) -> list[tuple[str, object]]:
        """Return name and value of each option that was used, several times if it has several values."""
        found: list[tuple[str, object]] = []
        for one in fields(self):  # type: ignore[arg-type]
            value = getattr(self, one.name)
            if value not in (one.default, []):  # typer passes [] for an option without a value
                name = f"--{one.name.replace('_', '-')}"
                found += [(name, each) for each in (value if isinstance(value, list) else [value])]
        return found

    def words(self) -> list[str]:
        """Return the options that were used, as words of a command line."""
        return [f"{name} {shlex.quote(str(value))}" for name, value in self.used()]


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes the fields of its option sets as options of its own.

    Typer reads the signature of a command. This one has the fields in the place of each set.
    """
    hints = get_type_hints(command, include_extras=True)
    sets: dict[str, type[OptionSet]] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if not (isinstance(kind, type) and issubclass(kind, OptionSet)):
            parameters.append(parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        sets[name] = kind
        annotations = get_type_hints(kind, include_extras=True)
        parameters += [
            inspect.Parameter(
                one.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=one.default,
                annotation=annotations[one.name],
            )
            for one in fields(kind)  # type: ignore[arg-type]
        ]

    @wraps(command)
    def spreading(**values: Any) -> None:  # Any: the values of all options
        for name, kind in sets.items():
            values[name] = kind(**{one.name: values.pop(one.name) for one in fields(kind)})  # type: ignore[arg-type]
        command(**values)

    spreading.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    spreading.__annotations__ = {}
    return spreading
