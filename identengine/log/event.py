"""The kind of a line of the log: name, level, text and remedy, and how its fields are shown on one line.

:mod:`identengine.log.events` lists all events.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

Field: TypeAlias = str | int | float | None

_log = logging.getLogger("identengine")

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR, "alarm": logging.ERROR}
_SENTENCES = frozenset({"why", "what"})
"""Fields that hold a whole message. It loses its full stop if a remedy follows, since the event then sets one."""


class Event(NamedTuple):
    """A kind of line of the log."""

    name: str
    """The name for programs. It never changes, even if the text does."""
    level: Literal["info", "warning", "error", "alarm"]
    """An alarm is an error that needs a person: the server, or something it depends on, is broken."""
    text: str
    """A description of the event, with the fields as ``%(name)s`` and without a full stop."""
    do: str = ""
    """The remedy, as whole sentences. Only errors and alarms have one."""

    def said(self, **fields: Field) -> str:
        """Return the text, followed by the remedy if there is one."""
        text = self.text % self._shown(fields) if fields else self.text
        return f"{text}. {self.do}" if self.do else text

    def tell(self, fault: BaseException | None = None, /, **fields: Field) -> None:
        """Write the event to the log. ``fault`` is an exception whose traceback is written too."""
        line = f"{'ALARM: ' if self.level == 'alarm' else ''}{self.text}"
        if self.do:
            line += f". {self.do.replace('%', '%%') if fields else self.do}"
        _log.log(
            _LEVELS[self.level],
            line,
            *([self._shown(fields)] if fields else []),
            exc_info=fault,
            extra={"event": self},
        )

    def _shown(self, fields: Mapping[str, Field]) -> dict[str, Field]:
        """Return the fields as a line shows them."""
        messages = _SENTENCES if self.do else ()
        return {
            name: Shown(value.removesuffix(".") if name in messages else value)
            if isinstance(value, str)
            else value
            for name, value in fields.items()
        }


class Shown(str):
    """A text that stays on its line: if it has characters that cannot be printed, it is escaped as in JSON.

    So no text from a peer can forge a line or send control sequences to a terminal. ``%(name)s`` shows the text
    alone, ``%(name)r`` shows it in double quotes.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return str.__str__(self) if self.isprintable() else json.dumps(self)[1:-1]

    def __repr__(self) -> str:
        return json.dumps(self, ensure_ascii=not self.isprintable())
