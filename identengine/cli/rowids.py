"""Options that name an account or a client, by its id or its name.

An id needs no book, so it can also name a row that was removed. A name is looked up in the newest version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from identengine.cli.workspace import find_workspace
from identengine.errors import expected, sentences
from identengine.provisioning.listing import find_account, find_client, id_in

if TYPE_CHECKING:
    from identengine.store.snapshot import Snapshot


def row_id(
    what: Literal["account", "client"], wanted: str | None, read: Callable[[], AbstractContextManager[Snapshot]]
) -> int | None:
    """Return the id that an option names, or None without the option. Raise NotFoundError for an unknown name.

    ``read`` opens the newest version of the book. It is called only for a name.
    """
    if wanted is None:
        return None
    number = id_in(wanted)
    if number is not None:
        return number
    find = find_account if what == "account" else find_client
    with read() as book:
        return find(book, wanted).id


@contextmanager
def book_of(config: Path | None) -> Iterator[Snapshot]:
    """Yield the newest version of the store that the config names. Raise BadParameter without a config."""
    if config is None:
        raise typer.BadParameter(
            sentences(expected("an id"), "A name needs the book: use --config FILE."),
            param_hint="--account, --client",
        )
    with find_workspace(None, config).open(readonly=True) as opened, opened.read() as book:
        yield book
