"""The filters of rows: options of ``list``, and of the commands that edit many rows at once.

Rule: a filter that is added to a set here works in the list and in every edit of the table. A repeated option
keeps the rows that one of its values matches. Several options keep the rows that all of them match.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import typer

from identengine.cli.optionsets import OptionSet
from identengine.model.records import Account, BookRow, Client, ClientStatus, Did, DidStatus, IdentBy, SrcPolicy
from identengine.provisioning import filters
from identengine.provisioning.filters import Status
from identengine.provisioning.listing import Clients, find_account, find_client

if TYPE_CHECKING:
    from identengine.store.snapshot import View

R = TypeVar("R", bound=BookRow)

PANEL = "Filters"
"""Title of the panel of filters in a help text."""


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


def _option(metavar: str | None, text: str) -> Any:  # Any: typer does not type what it reads
    return typer.Option(metavar=metavar, help=text, rich_help_panel=PANEL)


@dataclass(frozen=True)
class AccountFilters(Filters[Account]):
    """The filters of accounts."""

    client: Annotated[list[str] | None, _option("CLIENT", "Accounts of this client (id or name).")] = None
    name: Annotated[
        list[str] | None, _option("NAME", "Accounts with this name, or identified by this name of a caller.")
    ] = None
    address: Annotated[
        list[str] | None, _option("ADDRESS", "Accounts whose networks contain this whole address or network.")
    ] = None
    inside: Annotated[
        list[str] | None, _option("NETWORK", "Accounts with an address or network inside this network.")
    ] = None
    number: Annotated[
        list[str] | None,
        _option("NUMBER", "Accounts that this number matches: as ANI, as one of their DIDs, or by tech prefix."),
    ] = None
    prefix: Annotated[list[str] | None, _option("PREFIX", "Accounts with exactly this tech prefix.")] = None
    ident_by: Annotated[list[IdentBy] | None, _option(None, "Accounts that are identified by this.")] = None
    status: Annotated[
        list[Status] | None,
        _option(
            None,
            "Accounts with this status. enabled: a part is on. disabled: both parts are off."
            " orig, term: this part is on. blocked: the client or a reseller is blocked.",
        ),
    ] = None
    tag: Annotated[list[str] | None, _option("TAG", "Accounts with this tag in either part.")] = None
    gateway: Annotated[list[str] | None, _option("GATEWAY", "Accounts that name this gateway.")] = None
    protocol: Annotated[list[str] | None, _option("PROTOCOL", "Accounts with this signalling protocol.")] = None
    port: Annotated[list[str] | None, _option("PORT", "Accounts with this port.")] = None
    rate_table: Annotated[
        list[str] | None,
        _option("TABLE", "Accounts with this rate table, own or inherited by a part that is on."),
    ] = None
    routing_plan: Annotated[
        list[str] | None, _option("PLAN", "Accounts with this routing plan, own or inherited.")
    ] = None
    src_policy: Annotated[list[SrcPolicy] | None, _option(None, "Accounts with this Src Policy.")] = None

    def every(self, book: View) -> Iterator[Account]:
        """Return all accounts."""
        return book.accounts()

    def keeps(self, book: View) -> list[Callable[[Account], bool]]:
        """Return a test for each filter that was used. Raise BadParameter or NotFoundError."""
        clients = Clients(book)
        makers: dict[str, Callable[[Sequence[Any]], Callable[[Account], bool]]] = {
            "client": lambda values: _of_clients(values, book),
            "name": filters.has_name,
            "address": lambda values: filters.either([filters.covers(value) for value in values]),
            "inside": lambda values: filters.either([filters.inside(value) for value in values]),
            "number": lambda values: filters.either([_fits_number(value, book) for value in values]),
            "prefix": filters.has_prefix,
            "ident_by": lambda values: lambda account: account.ident_by in values,
            "status": lambda values: filters.has_status(values, clients),
            "tag": filters.has_tag,
            "gateway": filters.has_gateway,
            "protocol": filters.has_protocol,
            "port": filters.has_port,
            "rate_table": lambda values: filters.has_rate_table(values, clients),
            "routing_plan": lambda values: filters.has_routing_plan(values, clients),
            "src_policy": lambda values: lambda account: account.src_policy in values,
        }
        if self.rate_table or self.routing_plan or Status.BLOCKED in (self.status or ()):
            clients.prefetch()
        return _made(self, makers)


@dataclass(frozen=True)
class ClientFilters(Filters[Client]):
    """The filters of clients."""

    name: Annotated[list[str] | None, _option("NAME", "Clients with this name.")] = None
    status: Annotated[
        list[ClientStatus] | None,
        _option(None, "Clients with this status of their own. The status of resellers does not count."),
    ] = None
    reseller: Annotated[
        list[str] | None, _option("CLIENT", "Clients directly below this reseller (id or name).")
    ] = None
    rate_table: Annotated[
        list[str] | None,
        _option("TABLE", "Clients with this rate table of either direction, own or inherited."),
    ] = None
    routing_plan: Annotated[
        list[str] | None, _option("PLAN", "Clients with this routing plan, own or inherited.")
    ] = None

    def every(self, book: View) -> Iterator[Client]:
        """Return all clients."""
        return book.clients()

    def keeps(self, book: View) -> list[Callable[[Client], bool]]:
        """Return a test for each filter that was used. Raise BadParameter or NotFoundError."""
        clients = Clients(book)
        tables = ("rate_table", "term_rate_table")
        return _made(
            self,
            {
                "name": _has_client_name,
                "status": lambda values: lambda client: client.status in values,
                "reseller": lambda values: _below(values, book),
                "rate_table": lambda values: filters.client_has_table(values, clients, tables),
                "routing_plan": lambda values: filters.client_has_table(values, clients, ("routing_plan",)),
            },
        )


@dataclass(frozen=True)
class DidFilters(Filters[Did]):
    """The filters of DIDs."""

    client: Annotated[list[str] | None, _option("CLIENT", "DIDs of this client (id or name).")] = None
    account: Annotated[list[str] | None, _option("ACCOUNT", "DIDs of this account (id or name).")] = None
    status: Annotated[list[DidStatus] | None, _option(None, "DIDs with this status.")] = None
    number: Annotated[
        list[str] | None,
        _option("NUMBER", "DIDs that begin with these digits, or in a range: 442079460100-442079460199."),
    ] = None

    def every(self, book: View) -> Iterator[Did]:
        """Return the DIDs of the accounts, of the clients' accounts, or without either all DIDs."""
        if not self.client and not self.account:
            return book.dids()
        owners: Iterable[Account] = book.accounts()
        if self.account:
            named = {owner.id: owner for owner in (find_account(book, account) for account in self.account)}
            owners = [named[account_id] for account_id in sorted(named)]
        if self.client:
            owners = filter(_of_clients(self.client, book), owners)
        return chain.from_iterable(book.account_dids(owner.id) for owner in owners)

    def keeps(self, book: View) -> list[Callable[[Did], bool]]:
        """Return a test for each filter that was used. Raise BadParameter or NotFoundError."""
        return _made(
            self,
            {
                "status": lambda values: lambda did: did.status in values,
                "number": lambda values: filters.either([filters.has_digits(value) for value in values]),
            },
        )


def _made(
    used: Filters[R], makers: dict[str, Callable[[Sequence[Any]], Callable[[R], bool]]]
) -> list[Callable[[R], bool]]:
    """Return a test for each filter with values. Raise BadParameter, which names the option, for a wrong value."""
    keeps = []
    for name, make in makers.items():
        if values := getattr(used, name):
            with usage(f"--{name.replace('_', '-')}"):
                keeps.append(make(values))
    return keeps


def _of_clients(wanted: Sequence[str], book: View) -> Callable[[Account], bool]:
    ids = {find_client(book, name).id for name in wanted}
    return lambda account: account.client_id in ids


def _below(wanted: Sequence[str], book: View) -> Callable[[Client], bool]:
    ids = {find_client(book, name).id for name in wanted}
    return lambda client: client.parent_id in ids


def _fits_number(text: str, book: View) -> Callable[[Account], bool]:
    number = filters.number_in(text)
    did = book.did(number)
    return filters.fits_number(number, did.account_id if did else None)


def _has_client_name(values: Sequence[str]) -> Callable[[Client], bool]:
    fits = filters.texts(values)
    return lambda client: fits(client.name)


@contextmanager
def usage(option: str) -> Iterator[None]:
    """Raise a ValueError of the block as BadParameter of ``option``."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
