"""The display of accounts: the columns of a list, and all facts about one account."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from identengine.cli.display import Display, Facts, Field, book_field, watched
from identengine.cli.grid import GLUE
from identengine.cli.output import Column, when
from identengine.cli.styles import Painted, Style
from identengine.model.records import Account, IdentBy
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
from identengine.provisioning.sorting import Key, address_key, ident_key

if TYPE_CHECKING:
    from identengine.store.snapshot import Snapshot
    from identengine.store.versions import Store

_IDENTS = 3
"""Longest list of idents that a terminal shows whole."""
_STEP = 10_000
_OFF = Painted("off", Style.DISABLED)

_ORIG = (
    "orig_enabled",
    "orig_rate_table",
    "orig_routing_plan",
    "orig_tag",
    "src_policy",
    "orig_capacity",
    "orig_cps",
    "gateways",
)
_TERM = (
    "term_enabled",
    "term_rate_table",
    "term_tag",
    "term_routing_ip",
    "term_capacity",
    "term_protocol",
    "term_proxy",
    "term_port",
)
_SEVEN = ("id", "client", "account", "name/ani/ip", "tech_prefix", "orig_details", "term_details")
"""The columns of interfaces.md 2, by name."""
_TABLES = ("rate_table", "routing_plan")


def _tables(clients: Clients) -> dict[str, Field[Account]]:
    """Return the columns with the tables and the plan of an account, own or inherited."""

    def plan(account: Account) -> str:
        return _inherited(clients.routing_plan(account)) if account.orig_enabled else ""

    return {
        "rate_table": Field(
            Column("Rate Table", least=12),
            lambda account: _rate_tables(account, clients),
            lambda account: _rate_key(account, clients),
        ),
        "routing_plan": Field(
            Column("Routing Plan", least=12), plan, lambda account: _table_key(clients.routing_plan(account))
        ),
    }


def _orig_key(account: Account) -> Key:
    """Return the key of the originator part: by tag. A part that is off has no value, hence is last."""
    return (account.orig_tag or "").casefold() if account.orig_enabled else None


def _term_key(account: Account) -> Key:
    return (account.term_tag or "").casefold() if account.term_enabled else None


def _rate_key(account: Account, clients: Clients) -> Key:
    """Return the key of the rate table of the originator part, or of the terminator part if the other is off."""
    found = clients.rate_table(account) if account.orig_enabled else clients.term_rate_table(account)
    return _table_key(found)


def _table_key(found: Inherited | None) -> Key:
    return found.value.casefold() if found else None


class AccountDisplay(Display[Account]):
    """Accounts with the names of their clients and with inherited values."""

    record = Account
    noun = "account"

    def __init__(self, book: Snapshot) -> None:
        super().__init__(book)
        self.clients = Clients(book)

    def every(self) -> Iterator[Account]:
        """Yield all accounts, and show a progress bar if they are many."""
        return watched(self.book.accounts(), "accounts", self.book.counts.accounts, _STEP)

    @property
    def total(self) -> int:
        """Number of accounts."""
        return self.book.counts.accounts

    def usual(self, *, compact: bool) -> Sequence[str]:
        """Return the seven columns, and where there is room also the tables. Otherwise the details show them."""
        return _SEVEN if compact else _SEVEN + _TABLES

    def own(self, *, compact: bool) -> dict[str, Field[Account]]:
        """Return the columns of :meth:`usual` and the status."""
        clients = self.clients
        cut = sys.stdout.isatty()

        def orig(account: Account) -> str:
            return _orig_details(account, clients if compact else None)

        def term(account: Account) -> str:
            return _term_details(account, clients if compact else None)

        return {
            "id": Field(Column("ID", right=True), lambda account: str(account.id), lambda one: one.id, ("id",)),
            "client": Field(
                Column("Client", least=9),
                lambda account: _client_label(account.client_id, clients),
                lambda account: (clients.name(account.client_id).casefold(), account.client_id),
                ("client_id",),
            ),
            "account": Field(
                Column("Account", least=9), _account_label, lambda account: account.name.casefold(), ("name",)
            ),
            "name/ani/ip": Field(
                Column("Name/ANI/IP", solid=True, least=15),
                lambda account: _idents(account, cut=cut, compact=compact),
                ident_key,
                ("ident_by", "ident"),
            ),
            "ident": book_field("ident", ident_key),
            "term_routing_ip": book_field("term_routing_ip", lambda account: address_key(account.term_routing_ip)),
            "tech_prefix": Field(
                Column("Tech Prefix", firm=True),
                lambda account: account.tech_prefix or "",
                lambda account: account.tech_prefix,
                ("tech_prefix",),
            ),
            "orig_details": Field(Column("Orig Details", least=12), orig, _orig_key, _ORIG),
            "term_details": Field(Column("Term Details", least=12), term, _term_key, _TERM),
            **_tables(clients),
            "status": Field(
                Column("Status"), lambda account: _status(account, clients), lambda one: _status(one, clients)
            ),
        }

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
        yield "state", Painted("disabled: both parts are off", Style.DISABLED)
    elif blocker is not None:
        yield "state", Painted(f"blocked by client {blocker.id} {blocker.name}", Style.BLOCKED)


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
    label = f"{client_id} {client.name if client else '?'}"
    if blocker is None:
        return label
    state = "blocked" if blocker.id == client_id else f"below blocked {blocker.name}"
    return Painted(f"{label} ({state})", Style.BLOCKED)


def _account_label(account: Account) -> str:
    """Return the name of an account, and a note if it is disabled."""
    return Painted(f"{account.name} (disabled)", Style.DISABLED) if account.disabled else account.name


def _status(account: Account, clients: Clients) -> str:
    """Return whether calls of the account can pass: disabled, blocked or enabled."""
    if account.disabled:
        return Painted("disabled", Style.DISABLED)
    return Painted("blocked", Style.BLOCKED) if clients.blocked_by(account.client_id) else "enabled"


def _idents(account: Account, *, cut: bool, compact: bool) -> str:
    """Return the idents of an account with their kind.

    On a terminal (``cut``), a long list is the first ident and a count. In a ``compact`` list, addresses have no
    kind, since they are easily recognised.
    """
    items, more = account.ident, len(account.ident) - 1
    text = f"{items[0]}{GLUE}+{more}{GLUE}more" if cut and len(items) > _IDENTS else "; ".join(items)
    return text if compact and account.ident_by is IdentBy.IP else f"{account.ident_by}: {text}"


def _orig_details(account: Account, clients: Clients | None) -> str:
    """Return the originator part. With ``clients``, add the rate table and the routing plan."""
    if not account.orig_enabled:
        return _OFF
    return _details(
        ("tag", account.orig_tag),
        ("src", account.src_policy if account.src_policy != "allow_any" else None),
        ("capacity", account.orig_capacity),
        ("cps", account.orig_cps),
        ("gateway", ";".join(account.gateways) or None),
        # Columns of the terminator part that also apply to origination (engine.md 3.1).
        ("protocol", account.term_protocol),
        ("port", account.term_port),
        tables={"rate": clients.rate_table(account), "plan": clients.routing_plan(account)} if clients else {},
    )


def _term_details(account: Account, clients: Clients | None) -> str:
    """Return the terminator part. With ``clients``, add the rate table."""
    if not account.term_enabled:
        return _OFF
    return _details(
        ("tag", account.term_tag),
        ("to", account.term_routing_ip),
        ("protocol", account.term_protocol),
        ("port", account.term_port),
        ("proxy", account.term_proxy),
        ("capacity", account.term_capacity),
        ("gateway", ";".join(account.gateways) or None),
        tables={"rate": clients.term_rate_table(account)} if clients else {},
    )


def _details(*parts: tuple[str, object], tables: Mapping[str, Inherited | None]) -> str:
    """Return a part that is on: its columns, and whether it has each of ``tables``, of its own or inherited."""
    known = [f"{name} {shown(value)}" for name, value in parts if value is not None]
    sources: dict[str, list[str]] = {}
    for name, found in tables.items():
        source = "not set" if found is None else "own" if found.client is None else "inherited"
        sources.setdefault(source, []).append(name)
    return ", ".join(["on", *known, *(f"{'+'.join(names)} {source}" for source, names in sources.items())])


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
