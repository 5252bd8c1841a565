"""The display of accounts: the columns of a list, and all facts about one account."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from identengine.cli.output import Column, when
from identengine.cli.tables import Display, Facts, watched
from identengine.model.records import Account
from identengine.provisioning.changes import as_object, shown
from identengine.provisioning.listing import (
    Clients,
    Inherited,
    account_object,
    last_change_of_account,
    listed,
    owned_dids,
)
from identengine.provisioning.search import has_words

if TYPE_CHECKING:
    from identengine.store.snapshot import Snapshot
    from identengine.store.versions import Store

_IDENTS = 4
_STEP = 10_000


class AccountDisplay(Display[Account]):
    """Accounts with the names of their clients and with inherited values."""

    columns = (
        Column("ID", right=True),
        Column("Client"),
        Column("Account"),
        Column("Name/ANI/IP", firm=True),
        Column("Tech Prefix", firm=True),
        Column("Orig Details"),
        Column("Term Details"),
        Column("Rate Table"),
        Column("Routing Plan"),
    )

    def __init__(self, book: Snapshot) -> None:
        super().__init__(book)
        self.clients = Clients(book)

    def every(self) -> Iterator[Account]:
        """Yield all accounts, and show a progress bar if they are many."""
        return watched(self.book.accounts(), "accounts", self.book.counts.accounts, _STEP)

    def line(self, row: Account) -> Sequence[str]:
        """Return the account as one line of the list."""
        return (
            str(row.id),
            _client_label(row.client_id, self.clients),
            row.name,
            _idents(row),
            row.tech_prefix or "",
            _orig_details(row),
            _term_details(row),
            _rate_tables(row, self.clients),
            _inherited(self.clients.routing_plan(row)) if row.orig_enabled else "",
        )

    def as_object(self, row: Account) -> dict[str, object]:
        """Return the account for JSON, with inherited values."""
        return account_object(row, self.clients)

    def has_words(self, words: Sequence[str]) -> Callable[[Account], bool]:
        """Return a filter of accounts that contain every word, also in the client's name."""
        return has_words(words, self.clients, self.book)

    def details(self, opened: Store, row: Account) -> tuple[dict[str, object], Facts]:
        """Return resellers, first DIDs and last change for JSON, and all facts as text."""
        first, count = owned_dids(self.book, row.id)
        last = last_change_of_account(opened, row.id)
        numbers = listed(f"{did.number} ({did.status})" for did in first)
        more = f" and {count - len(first)} more" if count > len(first) else ""
        return {
            "resellers": [as_object(client) for client in self.clients.chain(row.client_id)[1:]],
            "dids": {"count": count, "first": [as_object(did) for did in first]},
            "last_change": None if last is None else {"at": last.at, "who": last.who, "what": last.what},
        }, [
            *_facts(row, self.clients),
            ("DIDs", f"{count}: {numbers}{more}" if count else "none"),
            ("last changed", f"{when(last.at)} by {last.who}: {last.what}" if last else None),
        ]


def _facts(account: Account, clients: Clients) -> Iterator[tuple[str, str | None]]:
    chain = clients.chain(account.client_id)
    blocker = clients.blocked_by(account.client_id)
    for name in Account.__struct_fields__:
        if name == "client_id":
            yield "client", _client_label(account.client_id, clients)
            if len(chain) > 1:
                yield "resellers", " < ".join(f"{client.id} {client.name}" for client in chain[1:])
        elif name == "password":
            yield "password", "set" if account.password else "not set"
        elif name == "notes":
            yield "notes", account.notes
        elif name == "orig_rate_table":
            yield name, _with_source(clients.rate_table(account))
        elif name == "orig_routing_plan":
            yield name, _with_source(clients.routing_plan(account))
        elif name == "term_rate_table":
            yield name, _with_source(clients.term_rate_table(account))
        else:
            yield name, shown(getattr(account, name)) or None
    if account.disabled:
        yield "state", "disabled: both parts are off"
    elif blocker is not None:
        yield "state", f"blocked by client {blocker.id} {blocker.name}"


def _with_source(found: Inherited | None) -> str | None:
    if found is None:
        return None
    return (
        found.value
        if found.client is None
        else f"{found.value} (from client {found.client.id} {found.client.name})"
    )


def _client_label(client_id: int, clients: Clients) -> str:
    """Return id and name of a client, and a note if it is blocked."""
    client = clients.get(client_id)
    blocker = clients.blocked_by(client_id)
    state = (
        "" if blocker is None else " (blocked)" if blocker.id == client_id else f" (below blocked {blocker.name})"
    )
    return f"{client_id} {client.name if client else '?'}{state}"


def _idents(account: Account) -> str:
    """Return the idents of an account. If they are many, return the first few and a count."""
    more = len(account.ident) - _IDENTS
    first = "; ".join(account.ident[:_IDENTS])
    return f"{account.ident_by}: {first}" + (f"; and {more} more" if more > 0 else "")


def _orig_details(account: Account) -> str:
    if not account.orig_enabled:
        return "off"
    return _details(
        ("tag", account.orig_tag),
        ("src", account.src_policy if account.src_policy != "allow_any" else None),
        ("capacity", account.orig_capacity),
        ("cps", account.orig_cps),
        ("gateway", ";".join(account.gateways) or None),
        # Columns of the terminator part that also apply to origination (engine.md 3.1).
        ("protocol", account.term_protocol),
        ("port", account.term_port),
    )


def _term_details(account: Account) -> str:
    if not account.term_enabled:
        return "off"
    return _details(
        ("tag", account.term_tag),
        ("to", account.term_routing_ip),
        ("protocol", account.term_protocol),
        ("port", account.term_port),
        ("proxy", account.term_proxy),
        ("capacity", account.term_capacity),
        ("gateway", ";".join(account.gateways) or None),
    )


def _details(*parts: tuple[str, object]) -> str:
    known = [f"{name} {shown(value)}" for name, value in parts if value is not None]
    return ", ".join(["on", *known])


def _rate_tables(account: Account, clients: Clients) -> str:
    orig = _inherited(clients.rate_table(account)) if account.orig_enabled else ""
    term = _inherited(clients.term_rate_table(account)) if account.term_enabled else ""
    if account.orig_enabled and account.term_enabled:
        return f"orig {orig}\nterm {term}"
    return orig or term


def _inherited(found: Inherited | None) -> str:
    if found is None:
        return "not set"
    return found.value if found.client is None else f"{found.value} (inherited)"
