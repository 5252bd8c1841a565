"""Dense random books and requests that nearly match them, for the comparison with :mod:`oracle`.

One generator serves two sources of choices. A seeded ``random.Random`` produces many cases fast, and hypothesis
shrinks a failing case. All values come from small pools, so that accounts overlap in everything they can.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import msgspec
from hypothesis import strategies as st
from property.oracle import CODES, Overrides, Rows
from property.oracle_forms import address, network, normal_form

from identengine.model.options import IdentifyOptions
from identengine.model.records import (
    Account,
    Client,
    ClientStatus,
    Did,
    DidStatus,
    IdentBy,
    SrcPolicy,
)

T = TypeVar("T")


class Source(Protocol):
    """A source of choices.

    The first item of a sequence, False and the smallest number are the simplest choices.
    """

    def pick(self, items: Sequence[T]) -> T: ...
    def chance(self, percent: float) -> bool: ...
    def count(self, least: int, most: int) -> int: ...


class Seeded:
    """Fast choices by a seeded generator."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed).random

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self._random() * len(items))]

    def chance(self, percent: float) -> bool:
        return self._random() * 100 < percent

    def count(self, least: int, most: int) -> int:
        return least + int(self._random() * (most - least + 1))


class Drawn:
    """Choices by hypothesis, which can shrink them."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw

    def pick(self, items: Sequence[T]) -> T:
        chosen: T = self._draw(st.sampled_from(items))
        return chosen

    def chance(self, percent: float) -> bool:
        return bool(self._draw(st.integers(0, 99)) >= 100 - percent)

    def count(self, least: int, most: int) -> int:
        return int(self._draw(st.integers(least, most)))


@dataclass(frozen=True)
class Case:
    """A book with the config that serves it."""

    rows: Rows
    options: IdentifyOptions
    overrides: Overrides = field(default_factory=dict)

    def options_for(self, switch: tuple[str | None, str | None]) -> IdentifyOptions:
        """Return the options for a switch with its own match_port and match_protocol."""
        port, protocol = switch
        return msgspec.structs.replace(
            self.options,
            match_port=port or self.options.match_port,
            match_protocol=protocol or self.options.match_protocol,
        )


# --- Pools ------------------------------------------------------------------------------------------------

NETWORKS = (
    *("10.0.0.5", "10.0.0.6", "10.0.0.5/32", "10.0.0.4/30", "10.0.0.0/29", "10.0.0.0/24", "10.0.0.7/24"),
    *("10.0.0.0/8", "10.0.0.0/31", "0.0.0.0/0", "198.51.100.8", "198.51.100.0/25", "10.0.1.0/24", "0.0.0.0/1"),
    *("::ffff:10.0.0.5", "::FFFF:10.0.0.5/128", "::ffff:10.0.0.0/120", "::ffff:0a00:6", "::ffff:0:0/96"),
    *("2001:db8::5", "2001:DB8::5/128", "2001:db8:0:0:0:0:0:6", "2001:db8::4/126", "2001:db8::/64"),
    *("2001:db8::7/64", "2001:db8::/33", "2001:db8::/32", "::/0", "::/1", "::ffff:0:0/95"),
)
ADDRESSES = (
    *("10.0.0.5", "10.0.0.6", "10.0.0.9", "10.0.1.5", "198.51.100.8", "192.0.2.77"),
    *("2001:db8::5", "2001:db8::6", "2001:db8:0:1::5", "2001:db8:8000::1", "fe80::1"),
)
ADDRESS_TEXTS = {
    "10.0.0.5": ("10.0.0.5", "::ffff:10.0.0.5", "::FFFF:0A00:0005", " 10.0.0.5 ", "0:0:0:0:0:ffff:10.0.0.5"),
    "2001:db8::5": ("2001:db8::5", "2001:DB8::5", "2001:0db8:0000::0005", "2001:db8::0.0.0.5", " [2001:DB8::5]"),
}
BAD_ADDRESSES = (
    *(
        "10.0.0.5:5060",
        "10.0.0",
        "10.0.0.05",
        "10.0.0.0/24",
        "[2001:db8::5]:5060",
        "[10.0.0.5]",
        "[2001:db8::5",
        "fe80::1%eth0",
        "acme",
        "10.0.0.256",
    ),
    *("1.2.3.4.5", "2001:db8", ":::", "10.0.0.5\x00", "\N{FULLWIDTH DIGIT ONE}0.0.0.5", "10.1", "0x0a.0.0.5"),
)
NAMES = ("acme", "Acme", "beta", "trunk 1", "10.0.0.5", "442070001", "b\N{LATIN SMALL LETTER U WITH DIAERESIS}ro")
ANIS = ("442070001", "442070002", "00442070001", "0044207", "44207", "*77#", "00", "011442070001")
PREFIXES = ("77#", "7", "77", "77#9", "99#", "9", "00", "0044", "5*")
CROWD = (*PREFIXES, "4", "44", "441", "00442", "77#4", "77#44", "7#", "99#0", "99#9", "442070001", "9" * 64)
"""Tech prefixes of the accounts that share one address."""
GATEWAYS = ("G1", "g2", "Stra\N{LATIN SMALL LETTER SHARP S}e")
PROTOCOLS = ("sip", "H323", "iax2")
PORTS = (5060, 5080)
PASSWORDS = ("secret", "Secret", " p w ", "p\N{LATIN SMALL LETTER A WITH DIAERESIS}ss:wort")
NUMBERS = ("44171", "442070001", "00442070001", "9", "+44171", "*77#", "0")
DIDS = ("442070001", "00442070002", "442070002", "442070003", "00", "*77#", "0044207", "011442070004", "445559")
BAD_NUMBERS = ("44\t171", "4" * 65, "44\N{ARABIC-INDIC DIGIT ONE}", "44\n", "\x7f44")
CLASSES = (("name", "ip", "ani"),) * 20 + (
    *(("ip", "name", "ani"), ("ani", "ip", "name"), ("ani", "name", "ip"), ("name", "ani"), ("ip", "ani")),
    *(("ip",), ("name",), ("ani",), ("name", "ip"), ("ip", "ani", "name")),
)
INTERNATIONAL = ((),) * 3 + (("00",), ("00", "0044"), ("011", "00"))


INSIDE = {
    text: tuple(a for a in ADDRESSES if address(a) in network(text)) or ADDRESSES for text in NETWORKS + ADDRESSES
}
"""The addresses of the pool that lie in a network of the pool."""

LONGER = {p: tuple(longer for longer in ("", *CROWD) if longer.startswith(p)) for p in ("", *CROWD)}
"""By tech prefix: the prefixes that begin with it. Several accounts then compete for a number."""

AROUND = {
    text: tuple(other for other in NETWORKS if set(INSIDE[text]) <= set(INSIDE[other])) or (text,)
    for text in INSIDE
}
"""By network of the pool: the networks of the pool that contain it."""


def encased(source: Source, text: str) -> str:
    """Return the same word in another case and with spaces around it, which do not count."""
    return source.pick((text, text.upper(), text.lower(), f" {text}\t", text.swapcase()))


def written(source: Source, number: str) -> str:
    """Return the same number in a common notation."""
    styles: tuple[str, ...] = (
        number,
        "+" + number,
        f" {number[:3]} {number[3:]}",
        f"({number[:2]}){number[2:4]}-{number[4:]}.",
    )
    if source.chance(15):
        user = number.replace("#", "%23").replace("*", "%2a")
        styles = (
            *(f"sip:{user}@sip.example;user=phone", f"<sips:+{user}:x@[2001:db8::1]>;tag=1", f"{number};ext=1"),
            *(f'"A <b" <tel:%2B{user};isub=2>', f"tel:{number[2:]};phone-context=+{number[:2]}", f"{number}@sbc"),
            *(
                f"sip:{number}",
                "sip:sbc.example",
                "<>",
                f"{number}%20",
                f"55%{number}",
                f"Tel:{user};phone-context=a.b",
            ),
        )
    return source.pick(styles) if source.chance(40) else number


# --- Books ------------------------------------------------------------------------------------------------


def some(source: Source, items: Sequence[T], most: int) -> tuple[T, ...]:
    return tuple(dict.fromkeys(source.pick(items) for _ in range(source.count(1, most))))


def maybe(source: Source, percent: int, items: Sequence[T]) -> T | None:
    return source.pick(items) if source.chance(percent) else None


def ident(source: Source, ident_by: IdentBy) -> tuple[str, ...]:
    if ident_by is IdentBy.IP:
        # Mostly narrow networks: if all were wide, every request would match.
        return some(source, NETWORKS if source.chance(50) else ADDRESSES, 3)
    return some(source, NAMES if ident_by is IdentBy.NAME else ANIS, 2)


PARTS: dict[str, Callable[[Source], dict[str, Any]]] = {
    "tech_prefix": lambda s: {"tech_prefix": maybe(s, 55, PREFIXES)},
    "gateways": lambda s: {"gateways": some(s, GATEWAYS, 2) if s.chance(40) else ()},
    "port": lambda s: {"term_port": maybe(s, 35, PORTS)},
    "protocol": lambda s: {"term_protocol": maybe(s, 35, PROTOCOLS)},
    "password": lambda s: {"password": maybe(s, 55, PASSWORDS)},
    "parts": lambda s: dict(
        zip(
            ("orig_enabled", "term_enabled"),
            s.pick(((True, False),) * 6 + ((True, True),) * 3 + ((False, True),) * 2 + ((False, False),)),
            strict=True,
        )
    ),
    "src_policy": lambda s: {"src_policy": s.pick((SrcPolicy.ALLOW_ANY, *SrcPolicy))},
}
"""Parts in which a copy of an account may differ from its model.

Accounts that differ in one part compete by it.
"""


def random_client(source: Source, client_id: int, above: Sequence[int]) -> Client:
    return Client(
        id=client_id,
        name=f"client {client_id}",
        status=ClientStatus.BLOCKED if source.chance(12) else ClientStatus.ACTIVE,
        parent_id=source.pick(above) if above and source.chance(40) else None,
        rate_table=maybe(source, 40, ("rate",)) and f"rate-{client_id}",
        routing_plan=maybe(source, 40, ("plan",)) and f"plan-{client_id}",
        term_rate_table=maybe(source, 40, ("term",)) and f"term-{client_id}",
    )


def random_account(
    source: Source, account_id: int, clients: Sequence[Client], earlier: Sequence[Account]
) -> Account:
    if earlier and source.chance(70):
        changes: dict[str, Any] = {"id": account_id, "name": f"account {account_id}"}
        for _ in range(source.count(source.count(0, 1), 2)):
            changes |= PARTS[source.pick(("port", "protocol", "password", *PARTS))](source)
        if source.chance(60):
            changes["client_id"] = source.pick(clients).id
        model = source.pick(earlier)
        if model.ident_by is IdentBy.IP and source.chance(55):
            # A wider network, or a longer prefix that begins with its own, makes mask and prefix compete.
            changes["ident"] = (source.pick(AROUND[model.ident[0]]),)
            changes["tech_prefix"] = source.pick(LONGER.get(model.tech_prefix or "", ())[1:] or PREFIXES)
        elif source.chance(25):
            changes["ident"] = ident(source, model.ident_by)
        return msgspec.structs.replace(model, **changes)
    ident_by = source.pick((IdentBy.IP, IdentBy.IP, IdentBy.IP, IdentBy.NAME, IdentBy.NAME, IdentBy.ANI))
    values: dict[str, Any] = {}
    for part in PARTS.values():
        values |= part(source)
    return Account(
        id=account_id,
        client_id=source.pick(clients).id,
        name=f"account {account_id}",
        ident_by=ident_by,
        ident=ident(source, ident_by),
        orig_rate_table=maybe(source, 30, ("orig-rate",)),
        orig_routing_plan=maybe(source, 30, ("orig-plan",)),
        orig_tag=maybe(source, 50, ("orig-tag",)),
        term_rate_table=maybe(source, 30, ("term-rate",)),
        term_tag=maybe(source, 50, ("term-tag",)),
        term_routing_ip=maybe(source, 50, ("192.0.2.1", "2001:DB8::99")) if ident_by is IdentBy.ANI else None,
        term_proxy=maybe(source, 30, ("proxy.example",)),
        **values,
    )


def random_dids(source: Source, accounts: Sequence[Account]) -> tuple[Did, ...]:
    strict = [account for account in accounts if account.src_policy is not SrcPolicy.ALLOW_ANY]
    numbers = tuple(dict.fromkeys(source.pick(DIDS) for _ in range(source.count(0, len(DIDS)))))
    return tuple(
        Did(
            number=number,
            account_id=source.pick(strict if strict and source.chance(85) else accounts).id,
            status=source.pick((DidStatus.ACTIVE, DidStatus.ACTIVE, DidStatus.ACTIVE, *DidStatus)),
        )
        for number in numbers
    )


def random_options(source: Source) -> IdentifyOptions:
    return IdentifyOptions(
        classes=source.pick(CLASSES),  # type: ignore[arg-type]  # the pool holds plain strings
        rank=source.pick(("mask_first", "tech_prefix_first", "tech_prefix_first")),
        match_port=source.pick(("always", "always", "always", "always", "never")),
        match_protocol=source.pick(("always", "always", "always", "always", "never")),
        strict_ambiguity=source.chance(50),
        require_password=source.chance(30),
        passwordless_name=source.pick(("deny", "after_ip", "normal", "normal")),
        international_prefixes=source.pick(INTERNATIONAL),
    )


def random_case(source: Source, most_accounts: int = 20) -> Case:
    # Half of the books are small, since nearly every request matches in a full one.
    clients: list[Client] = []
    for client_id in shuffled(source, range(1, source.count(1, 4) + 1)):
        clients.append(random_client(source, client_id, [client.id for client in clients]))
    accounts: list[Account] = []
    size = source.count(1, 6) if source.chance(40) else source.count(1, most_accounts)
    for account_id in shuffled(source, range(1, size + 1)):
        accounts.append(random_account(source, account_id, clients, accounts))
    if source.chance(8):
        # One address, name or number is shared by many accounts that differ in their tech prefix.
        first = accounts[0]
        accounts = [
            msgspec.structs.replace(
                random_account(source, account_id, clients, accounts),
                ident_by=first.ident_by,
                ident=first.ident[:1],
                tech_prefix=source.pick((None, *CROWD)),
            )
            for account_id in shuffled(source, range(1, source.count(most_accounts, 2 * most_accounts) + 1))
        ]
    overrides: dict[tuple[str, int | None], tuple[int, int]] = {}
    if source.chance(30):
        overrides[source.pick(tuple(CODES)), None] = (603, 50)
        overrides[source.pick(tuple(CODES)), source.pick(accounts).id] = (480, 51)
    rows = Rows(tuple(clients), tuple(accounts), random_dids(source, accounts), source.count(1, 9))
    return Case(rows, random_options(source), overrides)


def shuffled(source: Source, items: Sequence[T]) -> list[T]:
    left, mixed = list(items), []
    while left:
        mixed.append(left.pop(source.count(0, len(left) - 1)))
    return mixed


# --- Requests ---------------------------------------------------------------------------------------------


# --- hypothesis -------------------------------------------------------------------------------------------


@st.composite
def cases(draw: Callable[[st.SearchStrategy[Any]], Any], most_accounts: int = 8) -> Case:
    return random_case(Drawn(draw), most_accounts)


def shuffled_rows(rows: Rows, seed: int) -> Rows:
    """Return the same book with its rows in another order."""
    mixer = random.Random(seed)

    def mixed(table: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(mixer.sample(table, len(table)))

    return Rows(mixed(rows.clients), mixed(rows.accounts), mixed(rows.dids), rows.version)


def assert_sound(rows: Rows) -> None:
    """Check that the generated book could be imported."""
    assert len({client.id for client in rows.clients}) == len(rows.clients)
    assert len({account.id for account in rows.accounts}) == len(rows.accounts)
    assert len({normal_form(did.number) for did in rows.dids}) == len(rows.dids)
    for client in rows.clients:
        assert rows.chain(client.id)
    for account in rows.accounts:
        assert account.ident
        assert account.tech_prefix is None or normal_form(account.tech_prefix) == account.tech_prefix != ""
