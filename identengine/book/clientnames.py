"""Names of clients in the place of their ids, as people write them in a table (interfaces.md 1).

Rule: a name stands for an id only if exactly one client has it.
"""

from __future__ import annotations

from collections.abc import Iterable

from identengine.book.mistakes import Mistake, cell_text
from identengine.errors import expected, nearest, quoted
from identengine.model.records import Client

_NAMED = 5
"""Ids that a message names."""


class ClientNames:
    """The clients of a book by name."""

    def __init__(self, clients: Iterable[Client]) -> None:
        self._ids: dict[str, list[int]] = {}
        for client in clients:
            self._ids.setdefault(client.name, []).append(client.id)

    def id_of(self, column: str, name: str) -> int | Mistake:
        """Return the id of the client with this name, or a mistake in ``column``."""
        ids = self._ids.get(name, [])
        if len(ids) == 1:
            return ids[0]
        if ids:
            listed = ", ".join(map(str, ids[:_NAMED])) + (", …" if len(ids) > _NAMED else "")
            text = f"{len(ids)} clients have the name {quoted(name)}: {listed}. Use the id instead of the name."
        else:
            text = expected("the id or name of a client", name, meant=nearest(name, self._ids))
        return Mistake(column, cell_text(name), text)


def name_in(value: object) -> str | None:
    """Return the name in a cell that may hold an id, or None if the cell is empty or holds no name."""
    if not isinstance(value, str) or value.isdigit():
        return None
    text = value.strip()
    return None if not text or text.lstrip("+-").replace(".", "").isdigit() else text
