"""Filters of accounts, clients and DIDs: functions that return True for the rows that a list or an edit selects.

Rule: a filter takes several values and keeps a row that one of them matches. Texts are compared without case.
``*`` in a text stands for any characters, and the text ``none`` also matches a column that is not set. A value
that cannot be used raises ValueError with the expectation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from socket import inet_aton
from typing import TypeVar

from identengine.book.numbers import range_in
from identengine.errors import expected
from identengine.model.addresses import Network, format_address, parse_network
from identengine.model.numbers import normal_number
from identengine.model.records import Account, Client, Did, IdentBy
from identengine.provisioning.listing import Clients, Inherited

UNSET = "none"
"""Value of a filter that matches a column without a value."""
MAX_PORT = 65_535


class Status(StrEnum):
    """A state of an account that a list can filter by. It depends on the account's parts and on its client."""

    ENABLED = "enabled"
    """A part of the account is on."""
    DISABLED = "disabled"
    """Both parts are off."""
    ORIG = "orig"
    """The originator part is on."""
    TERM = "term"
    """The terminator part is on."""
    BLOCKED = "blocked"
    """The client or a reseller above it is blocked."""


R = TypeVar("R")
Test = Callable[[R], bool]
Texts = Callable[[str | None], bool]
"""A function that returns True if the text of a column, or None without one, matches."""


def texts(values: Iterable[str]) -> Texts:
    """Return a test of the text of a column. Raise ValueError if a value is empty."""
    exact: set[str | None] = set()
    patterns = []
    for value in values:
        folded = value.strip().casefold()
        if not folded:
            raise ValueError(expected(f"a text, or {UNSET} for a column that is not set", value))
        if folded == UNSET:
            exact.add(None)
        if "*" in folded:
            patterns.append(".*".join(map(re.escape, folded.split("*"))))
        else:
            exact.add(folded)
    matches = re.compile("|".join(patterns), re.DOTALL).fullmatch if patterns else None

    def test(text: str | None) -> bool:
        if text is None:
            return None in exact
        folded = text.casefold()
        return folded in exact or (matches is not None and matches(folded) is not None)

    return test


def has_status(wanted: Iterable[Status], clients: Clients) -> Test[Account]:
    """Return a filter of accounts by status: enabled or disabled, on in one part, or blocked."""
    tests: dict[Status, Test[Account]] = {
        Status.ENABLED: lambda account: account.orig_enabled or account.term_enabled,
        Status.DISABLED: lambda account: not (account.orig_enabled or account.term_enabled),
        Status.ORIG: lambda account: account.orig_enabled,
        Status.TERM: lambda account: account.term_enabled,
        Status.BLOCKED: lambda account: clients.blocked_by(account.client_id) is not None,
    }
    return either([tests[status] for status in wanted])


def either(tests: Sequence[Test[R]]) -> Test[R]:
    """Return a filter of the rows that one of the tests keeps."""
    return tests[0] if len(tests) == 1 else lambda row: any(test(row) for test in tests)


def covers(text: str) -> Test[Account]:
    """Return a filter of accounts that have a network which contains the whole address or network ``text``."""
    wanted, _ = parse_network(text)
    plain = format_address(wanted.address) if wanted.single and len(wanted.address) == 4 else None

    def contains(item: str) -> bool:
        if "/" not in item and ":" not in item:
            return item == plain  # an IPv4 address has one spelling
        network, _ = parse_network(item)
        return network.length <= wanted.length and network.covers(wanted.address)

    return _has_network(contains)


def inside(text: str) -> Test[Account]:
    """Return a filter of accounts that have an address or network within the network ``text``."""
    wanted, _ = parse_network(text)
    is_ipv4, shift = len(wanted.address) == 4, len(wanted.address) * 8 - wanted.length
    start = int.from_bytes(wanted.address, "big") >> shift

    def lies_inside(item: str) -> bool:
        if "/" not in item and ":" not in item:
            return is_ipv4 and int.from_bytes(inet_aton(item), "big") >> shift == start
        network: Network = parse_network(item)[0]
        return network.length >= wanted.length and wanted.covers(network.address)

    return _has_network(lies_inside)


def _has_network(test: Callable[[str], bool]) -> Test[Account]:
    def keep(account: Account) -> bool:
        return account.ident_by is IdentBy.IP and any(map(test, account.ident))

    return keep


def number_in(text: str) -> str:
    """Return the number of a filter in normal form (engine.md 2.1). Raise ValueError if it has no digits."""
    number = normal_number(text)
    if not number:
        raise ValueError(expected("a number", text))
    return number


def fits_number(number: str, did_owner: int | None) -> Test[Account]:
    """Return a filter of accounts that a number matches: as ANI, as their DID, or by their tech prefix."""
    return lambda account: (
        account.id == did_owner
        or (account.ident_by is IdentBy.ANI and number in account.ident)
        or (account.tech_prefix is not None and number.startswith(account.tech_prefix))
    )


def has_name(values: Iterable[str]) -> Test[Account]:
    """Return a filter of accounts by name: their own, or one by which a caller identifies them."""
    fits = texts(values)
    return lambda account: (
        fits(account.name) or (account.ident_by is IdentBy.NAME and any(map(fits, account.ident)))
    )


def has_tag(values: Iterable[str]) -> Test[Account]:
    """Return a filter of accounts that have the tag in either part, or no tag in both."""
    fits = texts(values)

    def keep(account: Account) -> bool:
        orig, term = account.orig_tag, account.term_tag
        if orig is None and term is None:
            return fits(None)
        return (orig is not None and fits(orig)) or (term is not None and fits(term))

    return keep


def has_gateway(values: Iterable[str]) -> Test[Account]:
    """Return a filter of accounts that name the gateway, or no gateway."""
    fits = texts(values)
    return lambda account: any(map(fits, account.gateways)) if account.gateways else fits(None)


def has_protocol(values: Iterable[str]) -> Test[Account]:
    """Return a filter of accounts with this signalling protocol."""
    fits = texts(values)
    return lambda account: fits(account.term_protocol)


def has_port(values: Iterable[str]) -> Test[Account]:
    """Return a filter of accounts with this port. Raise ValueError for a value that is not a port."""
    wanted = {_port(value) for value in values}
    return lambda account: account.term_port in wanted


def has_prefix(values: Iterable[str]) -> Test[Account]:
    """Return a filter of accounts with exactly this tech prefix, in any spelling of a number."""
    wanted = {None if value.strip().casefold() == UNSET else number_in(value) for value in values}
    return lambda account: account.tech_prefix in wanted


def has_rate_table(values: Iterable[str], clients: Clients) -> Test[Account]:
    """Return a filter of accounts by rate table, inherited ones too (engine.md 1.6).

    The account's own tables always count. An inherited or missing table counts for a part that is on. If both
    parts are off, both count together: a table is missing only if neither part has one.
    """
    fits = texts(values)

    def keep(account: Account) -> bool:
        orig, term = clients.rate_table(account), clients.term_rate_table(account)
        if not (account.orig_enabled or account.term_enabled):
            known = [found.value for found in (orig, term) if found]
            return any(map(fits, known)) if known else fits(None)
        return _fits(fits, account.orig_rate_table, orig, account.orig_enabled) or _fits(
            fits, account.term_rate_table, term, account.term_enabled
        )

    return keep


def has_routing_plan(values: Iterable[str], clients: Clients) -> Test[Account]:
    """Return a filter of accounts by routing plan, in the same way. Only the originator part has one."""
    fits = texts(values)

    def keep(account: Account) -> bool:
        counts = account.orig_enabled or not account.term_enabled
        return _fits(fits, account.orig_routing_plan, clients.routing_plan(account), counts)

    return keep


def _fits(fits: Texts, own: str | None, found: Inherited | None, counts: bool) -> bool:
    return (counts or own is not None) and fits(found.value if found else None)


def client_has_table(values: Iterable[str], clients: Clients, columns: Sequence[str]) -> Test[Client]:
    """Return a filter of clients by their tables or plan in ``columns``, inherited ones too."""
    fits = texts(values)

    def keep(client: Client) -> bool:
        tables = clients.tables(client.id)
        return any(fits(found.value if (found := tables[column]) else None) for column in columns)

    return keep


def has_digits(text: str) -> Test[Did]:
    """Return a filter of DIDs that begin with these digits, or lie in a range. Raise ValueError."""
    if found := range_in(text):
        first, count = found
        last = f"{int(first) + count - 1:0{len(first)}}"
        return lambda did: len(did.number) == len(first) and first <= did.number <= last
    start = number_in(text)
    return lambda did: did.number.startswith(start)


def _port(text: str) -> int | None:
    digits = text.strip()
    if digits.casefold() == UNSET:
        return None
    if digits.isascii() and digits.isdigit() and len(digits) <= len(str(MAX_PORT)) and 0 < int(digits) <= MAX_PORT:
        return int(digits)
    raise ValueError(expected(f"a port from 1 to {MAX_PORT}, or {UNSET}", text))
