"""The filters of rows: options of ``list``, and of the commands that edit many rows at once.

Rule: a filter that is added to a set here works in the list and in every edit of the table.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

import typer

from identengine.cli.optionsets import OptionSet
from identengine.model.addresses import parse_network
from identengine.model.numbers import normal_number
from identengine.model.records import Account, BookRow, Client, ClientStatus, Did, DidStatus
from identengine.provisioning import listing
from identengine.provisioning.listing import Status, did_number, find_account, find_client

if TYPE_CHECKING:
    from identengine.store.snapshot import View

R = TypeVar("R", bound=BookRow)


class Filters(OptionSet, Generic[R]):
    """The filters of one table."""

    @abstractmethod
    def every(self, book: View) -> Iterator[R]:
        """Return the rows in which :meth:`keeps` searches. Raise NotFoundError for an unknown row in a filter."""

    @abstractmethod
    def keeps(self, book: View) -> list[Callable[[R], bool]]:
        """Return a test for each filter that was used. Raise BadParameter for a value that cannot be used."""

    def rows(self, book: View) -> Iterator[R]:
        """Return the rows that match all filters. Raise as :meth:`every` and :meth:`keeps` do."""
        return self.among(self.every(book), book)

    def among(self, rows: Iterable[R], book: View) -> Iterator[R]:
        """Return those of the given rows that match all filters. Raise as :meth:`keeps` does."""
        keeps = self.keeps(book)
        return (row for row in rows if all(keep(row) for keep in keeps))


@dataclass(frozen=True)
class AccountFilters(Filters[Account]):
    """The filters of accounts."""

    client: Annotated[
        str | None, typer.Option(metavar="CLIENT", help="Only accounts of this client (id or name).")
    ] = None
    address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Only accounts whose networks contain this address or network."),
    ] = None
    number: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER",
            help="Only accounts that this number matches: as ANI, as one of their DIDs, or by their tech prefix.",
        ),
    ] = None
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="Only accounts with this tag in either part.")] = (
        None
    )
    status: Annotated[
        Status | None,
        typer.Option(
            help=(
                "Only accounts with this status. enabled: a part is on. disabled: both parts are off."
                " orig, term: this part is on. blocked: the client or a reseller is blocked."
            )
        ),
    ] = None

    def every(self, book: View) -> Iterator[Account]:
        """Return all accounts."""
        return book.accounts()

    def keeps(self, book: View) -> list[Callable[[Account], bool]]:
        """Return a test for each filter that was used. Raise BadParameter or NotFoundError."""
        keeps: list[Callable[[Account], bool]] = []
        if self.client is not None:
            wanted = find_client(book, self.client).id
            keeps.append(lambda account: account.client_id == wanted)
        if self.status is not None:
            keeps.append(listing.has_status(self.status, listing.Clients(book)))
        if self.tag is not None:
            keeps.append(listing.has_tag(self.tag))
        if self.number is not None:
            with usage("--number"):
                number = normal_number(self.number)
            did = book.did(number) if number else None
            keeps.append(listing.fits_number(number, did.account_id if did else None))
        if self.address is not None:
            with usage("--address"):
                keeps.append(listing.covers(parse_network(self.address)[0]))
        return keeps


@dataclass(frozen=True)
class ClientFilters(Filters[Client]):
    """The filters of clients."""

    status: Annotated[
        ClientStatus | None,
        typer.Option(help="Only clients with this status of their own. The status of resellers does not count."),
    ] = None
    reseller: Annotated[
        str | None, typer.Option(metavar="CLIENT", help="Only clients directly below this reseller (id or name).")
    ] = None

    def every(self, book: View) -> Iterator[Client]:
        """Return all clients."""
        return book.clients()

    def keeps(self, book: View) -> list[Callable[[Client], bool]]:
        """Return a test for each filter that was used. Raise BadParameter or NotFoundError."""
        keeps: list[Callable[[Client], bool]] = []
        if (status := self.status) is not None:
            keeps.append(lambda client: client.status is status)
        if self.reseller is not None:
            above = find_client(book, self.reseller).id
            keeps.append(lambda client: client.parent_id == above)
        return keeps


@dataclass(frozen=True)
class DidFilters(Filters[Did]):
    """The filters of DIDs."""

    client: Annotated[
        str | None, typer.Option(metavar="CLIENT", help="Only DIDs of this client (id or name).")
    ] = None
    account: Annotated[
        str | None, typer.Option(metavar="ACCOUNT", help="Only DIDs of this account (id or name).")
    ] = None
    status: Annotated[DidStatus | None, typer.Option(help="Only DIDs with this status.")] = None
    number: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Only DIDs that begin with these digits.")
    ] = None

    def every(self, book: View) -> Iterator[Did]:
        """Return the DIDs of the account, of the client's accounts, or without either all DIDs."""
        if self.client is None and self.account is None:
            return book.dids()
        owners: Iterable[Account] = book.accounts()
        if self.account is not None:
            owners = [find_account(book, self.account)]
        if self.client is not None:
            wanted = find_client(book, self.client).id
            owners = [owner for owner in owners if owner.client_id == wanted]
        return chain.from_iterable(book.account_dids(owner.id) for owner in owners)

    def keeps(self, book: View) -> list[Callable[[Did], bool]]:
        """Return a test for each filter that was used. Raise BadParameter or NotFoundError."""
        keeps: list[Callable[[Did], bool]] = []
        if (status := self.status) is not None:
            keeps.append(lambda did: did.status is status)
        if self.number is not None:
            start = did_number(self.number)
            keeps.append(lambda did: did.number.startswith(start))
        return keeps


@contextmanager
def usage(option: str) -> Iterator[None]:
    """Raise a ValueError of the block as BadParameter of ``option``."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
