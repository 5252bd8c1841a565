"""An account as the list shows it, and the filters of the list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Literal

from identengine.cli.fields import as_object, shown
from identengine.cli.lookup import Clients, Inherited
from identengine.cli.output import Column
from identengine.model.addresses import Network, parse_network
from identengine.model.numbers import normal_number
from identengine.model.records import Account, Client, ClientStatus, IdentBy

COLUMNS = (
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

Status = Literal["enabled", "disabled", "orig", "term", "blocked"]
Keep = Callable[[Account], bool]

_IDENTS = 4


def row(account: Account, clients: Clients) -> tuple[str, ...]:
    """Return the cells of :data:`COLUMNS`."""
    return (
        str(account.id),
        client_label(account.client_id, clients),
        account.name,
        idents(account),
        account.tech_prefix or "",
        _orig_details(account),
        _term_details(account),
        _rate_tables(account, clients),
        _inherited(clients.routing_plan(account)) if account.orig_enabled else "",
    )


def as_json(account: Account, clients: Clients) -> dict[str, object]:
    """Return the account for JSON: its columns, its client's name, whether it is blocked, what it inherits."""
    client = clients.get(account.client_id)
    return as_object(account) | {
        "client_name": client.name if client else None,
        "blocked": clients.blocked_by(account.client_id) is not None,
        "inherited": {
            "rate_table": _source(clients.rate_table(account)),
            "routing_plan": _source(clients.routing_plan(account)),
            "term_rate_table": _source(clients.term_rate_table(account)),
        },
    }


def client_label(client_id: int, clients: Clients) -> str:
    """Return id and name of a client, and that it is blocked."""
    client = clients.get(client_id)
    blocker = clients.blocked_by(client_id)
    state = (
        "" if blocker is None else " (blocked)" if blocker.id == client_id else f" (below blocked {blocker.name})"
    )
    return f"{client_id} {client.name if client else '?'}{state}"


def idents(account: Account) -> str:
    """Return what the account is known by; of many values the first few."""
    more = len(account.ident) - _IDENTS
    first = "; ".join(account.ident[:_IDENTS])
    return f"{account.ident_by}: {first}" + (f"; and {more} more" if more > 0 else "")


def has_status(status: Status, clients: Clients) -> Keep:
    """Keep accounts that are enabled (a part is on), disabled (both off), on in one part, or blocked."""
    tests: dict[Status, Keep] = {
        "enabled": lambda account: not account.disabled,
        "disabled": lambda account: account.disabled,
        "orig": lambda account: account.orig_enabled,
        "term": lambda account: account.term_enabled,
        "blocked": lambda account: clients.blocked_by(account.client_id) is not None,
    }
    return tests[status]


def covers(wanted: Network) -> Keep:
    """Keep accounts of which a network holds the whole of ``wanted``."""
    bits = len(wanted.address) * 8
    number = int.from_bytes(wanted.address, "big")

    def keep(account: Account) -> bool:
        if account.ident_by is not IdentBy.IP:
            return False
        for item in account.ident:
            network, _ = parse_network(item)
            free = bits - network.length
            if (
                len(network.address) * 8 == bits
                and network.length <= wanted.length
                and int.from_bytes(network.address, "big") >> free == number >> free
            ):
                return True
        return False

    return keep


def fits_number(number: str, did_owner: int | None) -> Keep:
    """Keep accounts that the number fits: as ANI, as a DID of theirs, or as one that their tech prefix begins."""
    return lambda account: (
        account.id == did_owner
        or (account.ident_by is IdentBy.ANI and number in account.ident)
        or (account.tech_prefix is not None and number.startswith(account.tech_prefix))
    )


def has_tag(tag: str) -> Keep:
    """Keep accounts that bear the tag in either part."""
    folded = tag.casefold()
    return lambda account: folded in ((account.orig_tag or "").casefold(), (account.term_tag or "").casefold())


def has_words(words: list[str], clients: Clients) -> Keep:
    """Keep accounts in which every word stands somewhere: any column but the password, or the client's name."""
    wanted = [_spellings(word) for word in words]

    def keep(account: Account) -> bool:
        client = clients.get(account.client_id)
        text = "\n".join((*searchable(account), client.name if client else "")).casefold()
        return all(any(spelling in text for spelling in spellings) for spellings in wanted)

    return keep


def searchable(row: Account | Client) -> Iterator[str]:
    """Yield the text of each column; never the password."""
    for name in row.__struct_fields__:
        if name != "password" and (value := shown(getattr(row, name))):
            yield value


def client_has_words(words: list[str]) -> Callable[[Client], bool]:
    """Keep clients in which every word stands somewhere."""
    wanted = [_spellings(word) for word in words]

    def keep(client: Client) -> bool:
        text = "\n".join(searchable(client)).casefold()
        return all(any(spelling in text for spelling in spellings) for spellings in wanted)

    return keep


def client_is(status: ClientStatus) -> Callable[[Client], bool]:
    """Keep clients that have this status themselves."""
    return lambda client: client.status is status


def _spellings(word: str) -> set[str]:
    """Return the word as typed and, where it may be a number, as the book keeps it (engine.md 2.1)."""
    found = {word.casefold()}
    if any(char.isdigit() for char in word):
        with suppress(ValueError):
            found.add(normal_number(word).casefold())
    return found - {""}


def _orig_details(account: Account) -> str:
    if not account.orig_enabled:
        return "off"
    return _details(
        ("tag", account.orig_tag),
        ("src", account.src_policy if account.src_policy != "allow_any" else None),
        ("capacity", account.orig_capacity),
        ("cps", account.orig_cps),
        ("gateway", ";".join(account.gateways) or None),
        # They stand in the terminator part and hold for origination too (engine.md 3.1).
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


def _source(found: Inherited | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {"value": found.value, "client_id": found.client.id if found.client else None}
