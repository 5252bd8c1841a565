"""The checks that look at one account or client alone. Each is a function that yields troubles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec

from identengine.book.accountwarnings import no_password as no_password_warnings
from identengine.book.accountwarnings import own_constraints
from identengine.errors import quoted
from identengine.lint.countrycodes import COUNTRY_CODES
from identengine.lint.findings import Probe, Trouble
from identengine.lint.scope import Scope
from identengine.lint.values import network_of, request_of, values_of
from identengine.model.addresses import Network, format_network
from identengine.model.records import Account, Client, IdentBy, Request


class Tables(NamedTuple):
    """The rate tables that an account inherits from its client and the resellers above (engine.md 1.6)."""

    rate_table: str | None
    term_rate_table: str | None


RowCheck = Callable[[Account, Tables, Scope], Iterable[Trouble]]

NO_TROUBLE: tuple[Trouble, ...] = ()


def found_probe(account: Account, item: str | None = None) -> Probe | None:
    """Return the request that has to find the account, or None if the account has no value."""
    item = item or (account.ident[0] if account.ident else None)
    if item is None:
        return None
    wanted = account.id
    network = item if account.ident_by is IdentBy.IP else None
    request = request_of(account, item)
    return Probe(request, lambda found, _: found == wanted, account.tech_prefix or "", network)


def missed_probe(account: Account, request: Request, item: str) -> Probe:
    """Return a request that has to miss the account."""
    wanted = account.id
    network = item if account.ident_by is IdentBy.IP else None
    return Probe(request, lambda found, _: found != wanted, account.tech_prefix or "", network)


def vendor_probe(account: Account) -> Probe:
    """Return the request of termination that names the account."""
    request = Request(direction="termination", account_id=str(account.id))
    return Probe(request, lambda found, _: found == account.id)


def no_password(account: Account, _tables: Tables, scope: Scope) -> Iterable[Trouble]:
    """Yield a name account without a password."""
    warnings = no_password_warnings(account)
    if not warnings:
        return NO_TROUBLE
    how = scope.options.passwordless_name
    if how == "deny":
        text, many = warnings[0].expected, warnings[0].many
        probe = missed_probe(account, request_of(account, account.ident[0]), account.ident[0])
    else:
        why = f"[identify] passwordless_name is {quoted(how)}, so the name alone makes a caller this customer."
        text, many = f"{why} Set a password.", f"{{}} accounts log in by name without a password: {{}}. {why}"
        found = found_probe(account)
        assert found is not None  # noqa: S101 - tells mypy that a name account has a name
        probe = found
    return (_of(account, "no_password", "warning", f"password: {text}", many, probe),)


def own_constraint(account: Account, _tables: Tables, scope: Scope) -> Iterator[Trouble]:
    """Yield each terminator port or protocol that blocks the account's origination."""
    for column, _value, text, many in own_constraints(account):
        if scope.counts_port if column == "term_port" else scope.counts_protocol:
            request = request_of(account, account.ident[0])
            without = {"src_port": None} if column == "term_port" else {"protocol": None}
            probe = missed_probe(account, _replaced(request, **without), account.ident[0])
            yield _of(account, "own_constraint", "error", f"{column}: {text}", many, probe)


def ani_without_gateway(account: Account, _tables: Tables, scope: Scope) -> Iterable[Trouble]:
    """Yield an ANI account that any gateway may present, unless callers have to prove a password."""
    if account.ident_by is not IdentBy.ANI or not account.orig_enabled or account.gateways:
        return NO_TROUBLE
    if scope.options.require_password and account.password is not None:
        return NO_TROUBLE
    text = "no gateways are set, so any caller that presents the number makes calls as this account."
    many = (
        "{} ANI accounts have no gateways: {}. Any caller that presents one of their numbers makes calls as the "
        "account."
    )
    return (_of(account, "ani_without_gateway", "warning", f"gateways: {text}", many, found_probe(account)),)


def country_code(account: Account, _tables: Tables, _scope: Scope) -> Iterable[Trouble]:
    """Yield a tech prefix that is a country code."""
    prefix = account.tech_prefix
    if prefix not in COUNTRY_CODES or not account.orig_enabled:
        return NO_TROUBLE
    text = (
        f"tech_prefix: {quoted(prefix)} is a country code. It is removed from every number of that country that "
        "a caller dials."
    )
    many = (
        "{} accounts have a country code as tech prefix: {}. It is removed from every number of that country that "
        "a caller dials."
    )
    return (_of(account, "prefix_begins_number", "warning", text, many, found_probe(account)),)


def whole_internet(account: Account, _tables: Tables, _scope: Scope) -> Iterator[Trouble]:
    """Yield each network of /0 to /7, of IPv6 /0 to /15."""
    if account.ident_by is not IdentBy.IP:
        return
    for item in account.ident:
        head, slash, length = item.partition("/")
        if slash and int(length) < (16 if ":" in head else 8):
            network = network_of(item)
            if network.length < (8 if len(network.address) == 4 else 16):
                text = f"account {account.id}: the network {item} covers a large part of the Internet"
                probe = found_probe(account, item) if account.orig_enabled else None
                yield Trouble(
                    "whole_internet", "warning", text, None, (account.id,), (account.client_id,), (), probe
                )


def never_pays(account: Account, tables: Tables, _scope: Scope) -> Iterator[Trouble]:
    """Yield a direction without a rate table in the chain of resellers."""
    if account.orig_enabled and not (account.orig_rate_table or tables.rate_table):
        text = "no rate table is set for calls from this account, its client or a reseller above."
        many = (
            "{} accounts have no rate table for calls from them: {}. Neither has their client or a reseller above."
        )
        yield _of(account, "never_pays", "info", f"orig_rate_table: {text}", many, found_probe(account))
    if account.term_enabled and not (account.term_rate_table or tables.term_rate_table):
        text = "no rate table is set for calls to this account, its client or a reseller above."
        many = (
            "{} accounts have no rate table for calls to them: {}. Neither has their client or a reseller above."
        )
        yield _of(account, "never_pays", "info", f"term_rate_table: {text}", many, vendor_probe(account))


def zero_limit(account: Account, _tables: Tables, _scope: Scope) -> Iterator[Trouble]:
    """Yield each limit of 0 in a part that is enabled. No explanation shows limits, so it has no example."""
    limits = (
        ("orig_capacity", account.orig_capacity, account.orig_enabled),
        ("orig_cps", account.orig_cps, account.orig_enabled),
        ("term_capacity", account.term_capacity, account.term_enabled),
    )
    for column, value, enabled in limits:
        if value == 0 and enabled:
            text = f"{column}: the limit is 0, so every call is rejected."
            many = f"{{}} accounts have {column} 0: {{}}. Every call is rejected."
            yield _of(account, "zero_limit", "info", text, many, None)


def unreachable_vendor(account: Account, _tables: Tables, _scope: Scope) -> Iterable[Trouble]:
    """Yield a terminator without host and proxy."""
    if not account.term_enabled or account.term_proxy or _has_host(account):
        return NO_TROUBLE
    text = (
        "the terminator is enabled and has no host and no proxy, so an answer does not name the vendor's address."
    )
    many = "{} accounts with the terminator enabled have no host and no proxy: {}."
    return (_of(account, "unreachable_vendor", "warning", text, many, vendor_probe(account)),)


def no_value(account: Account, _tables: Tables, scope: Scope) -> Iterable[Trouble]:
    """Yield an account that no request can find: its class is not tried, or no number is left of its ident."""
    if not account.orig_enabled:
        return NO_TROUBLE
    kind = account.ident_by.value
    if kind not in scope.options.classes:
        text = f"ident_by: [identify] classes does not have {quoted(kind)}, so no call finds this account."
        many = f"{{}} accounts are never found, since [identify] classes does not have {quoted(kind)}: {{}}."
        request = request_of(account, account.ident[0])
        return (_of(account, "shadowed", "warning", text, many, missed_probe(account, request, account.ident[0])),)
    if account.ident_by is IdentBy.ANI and next(values_of(account, scope.prefixes), None) is None:
        text = (
            "ident: nothing is left of the number without the international prefix, so no call finds this account."
        )
        return (_of(account, "shadowed", "warning", text, None, None),)
    return NO_TROUBLE


class SwitchAddresses:
    """The check of idents that cover an address of a switch."""

    def __init__(self, switches: Iterable[tuple[str, Network]]) -> None:
        self._ranges: dict[int, list[tuple[int, int, str]]] = {4: [], 16: []}
        for name, network in switches:
            self._ranges[len(network.address)].append((*_ends(network), name))

    def check(self, account: Account, _tables: Tables, _scope: Scope) -> Iterator[Trouble]:
        """Yield each ident that covers an address of a switch."""
        if account.ident_by is not IdentBy.IP:
            return
        for item in account.ident:
            network = network_of(item)
            first, last = _ends(network)
            for begin, end, name in self._ranges[len(network.address)]:
                if first <= end and begin <= last:
                    text = f"account {account.id}: the ident {item} covers an address of the switch {quoted(name)}"
                    inner = Network(
                        max(first, begin).to_bytes(len(network.address), "big"), len(network.address) * 8
                    )
                    probe = found_probe(account, format_network(inner)) if account.orig_enabled else None
                    yield Trouble(
                        "covers_switch", "warning", text, None, (account.id,), (account.client_id,), (), probe
                    )
                    break


ROW_CHECKS: tuple[RowCheck, ...] = (
    no_password,
    own_constraint,
    ani_without_gateway,
    country_code,
    whole_internet,
    never_pays,
    zero_limit,
    unreachable_vendor,
    no_value,
)
"""The checks of one account that is enabled."""


def client_troubles(client: Client) -> Iterator[Trouble]:
    """Yield each limit of 0 of a client."""
    for column in ("capacity", "orig_capacity", "term_capacity", "orig_cps"):
        if getattr(client, column) == 0:
            text = f"client {client.id}: {column}: the limit is 0, so calls of all its accounts are rejected."
            many = f"{{}} clients have {column} 0: {{}}. Calls of all their accounts are rejected."
            yield Trouble("zero_limit", "info", text, many, (), (client.id,))


def _of(account: Account, check: str, severity: str, text: str, many: str | None, probe: Probe | None) -> Trouble:
    """Return a trouble of one account."""
    whole = f"account {account.id}: {text}"
    return Trouble(check, severity, whole, many, (account.id,), (account.client_id,), (), probe)  # type: ignore[arg-type]


def _has_host(account: Account) -> bool:
    """Return True if calls to the account have a host (engine.md 3.9)."""
    if account.ident_by is IdentBy.ANI:
        return account.term_routing_ip is not None
    if account.ident_by is IdentBy.NAME:
        return False
    return any(item.partition("/")[2] in ("", "128" if ":" in item else "32") for item in account.ident)


def _ends(network: Network) -> tuple[int, int]:
    """Return the first and last address of a network as numbers."""
    first = int.from_bytes(network.address, "big")
    return first, first + (1 << (len(network.address) * 8 - network.length)) - 1


def _replaced(request: Request, **fields: None) -> Request:
    return msgspec.structs.replace(request, **fields)
