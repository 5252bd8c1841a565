"""Search for words in all columns of accounts, clients and DIDs, and in the values that they inherit.

Rule: a row is found if every word occurs in it. Case does not matter. The password is never searched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from identengine.model.numbers import normal_number
from identengine.model.records import Account, Client, ClientStatus, Did
from identengine.provisioning.changes import shown
from identengine.provisioning.listing import Clients

if TYPE_CHECKING:
    from identengine.store.snapshot import View

FEWEST_DIGITS = 5
"""Digits from which a word also finds the accounts that own a DID that begins with it. Fewer fit too many DIDs."""

_NULL = "null"
"""The text of an empty column in JSON."""
_LONGEST_INTEGER = 15
"""Digits of an integer that JSON certainly writes as a list does. A larger limit of calls may have an exponent."""

Spellings = frozenset[str]
"""A word as typed and, if it may be a number, in normal form."""


def words_in(parts: Iterable[str]) -> list[str]:
    """Return the words to search for. A text that begins with a plus is one number, even with blanks."""
    text = " ".join(parts).strip()
    if text.startswith("+"):
        with suppress(ValueError):
            if (number := normal_number(text)).isdigit():
                return [number]
    return text.split()


def has_words(words: Iterable[str], clients: Clients, book: View) -> Callable[[Account], bool]:
    """Return a filter of accounts that contain every word.

    A word may occur in a column, in the client's name, in an inherited table or plan, or in ``enabled``,
    ``disabled`` or ``blocked``. It may also begin one of the account's DIDs.
    """
    tests = [_has_word(_spellings(word), _owners(word, book), clients) for word in words]

    def keep(account: Account) -> bool:
        encoded = _encode(_values(account)).decode().casefold()
        for test in tests:  # noqa: SIM110 - a generator takes a quarter longer
            if not test(account, encoded):
                return False
        return True

    return keep


_encode = msgspec.json.Encoder().encode


def _has_word(spellings: Spellings, owners: frozenset[int], clients: Clients) -> Callable[[Account, str], bool]:
    """Return a test of one word. Its second argument is the JSON of :func:`_values`, without case.

    That JSON takes a quarter of the time of :func:`account_text`. So a search takes less than a second.
    """
    if not all(map(_is_written, spellings)):
        return lambda account, encoded: (
            account.id in owners or _has(account_text(account, clients).casefold(), spellings)
        )
    first, *others = spellings
    in_client: dict[int, bool] = {}
    in_tables: dict[int, bool] = {}

    def look(client_id: int) -> None:
        standing = clients.standing(client_id)
        state = "blocked" if standing.blocked_by else ""
        tables = (standing.rate_table, standing.routing_plan, standing.term_rate_table)
        in_client[client_id] = _has(f"{clients.name(client_id)}\n{state}".casefold(), spellings)
        in_tables[client_id] = _has("\n".join([found.value for found in tables if found]).casefold(), spellings)

    def test(account: Account, encoded: str) -> bool:
        if first in encoded:
            return True
        client_id = account.client_id
        if client_id not in in_client:
            look(client_id)
        if in_client[client_id] or account.id in owners:
            return True
        if in_tables[client_id] and _has("\n".join(_inherited(account, clients)).casefold(), spellings):
            return True
        return any(one in encoded for one in others)

    return test


def _is_written(spelling: str) -> bool:
    """Return True if the JSON of an account contains this text if and only if a value does."""
    return (
        spelling.isprintable()
        and not any(char in '",;[]\\' for char in spelling)
        and spelling not in _NULL
        and not (spelling.isdigit() and len(spelling) > _LONGEST_INTEGER)
    )


def _values(account: Account) -> tuple[object, ...]:
    """Return all values of an account that are searched, without inherited ones."""
    a = account
    return (
        a.id, a.client_id, a.name, a.ident_by, a.ident, a.tech_prefix, a.gateways, a.notes, a.orig_rate_table,
        a.orig_routing_plan, a.orig_tag, a.src_policy, a.orig_capacity, a.orig_cps, a.term_rate_table, a.term_tag,
        a.term_routing_ip, a.term_capacity, a.term_protocol, a.term_proxy, a.term_port,
        "enabled" if a.orig_enabled or a.term_enabled else "disabled",
    )  # fmt: skip


def _inherited(account: Account, clients: Clients) -> list[str]:
    """Return the tables and the plan that an account inherits."""
    tables = (clients.rate_table(account), clients.routing_plan(account), clients.term_rate_table(account))
    return [found.value for found in tables if found and found.client]


def account_text(account: Account, clients: Clients) -> str:
    """Return all that is searched of an account, a line each."""
    values = [shown(value) for value in _values(account)]
    state = "blocked" if clients.blocked_by(account.client_id) else ""
    return "\n".join([*values, *_inherited(account, clients), clients.name(account.client_id), state])


def client_has_words(words: Iterable[str], clients: Clients) -> Callable[[Client], bool]:
    """Return a filter of clients that contain every word, also in a reseller's name or in an inherited value."""
    wanted = [_spellings(word) for word in words]

    def keep(client: Client) -> bool:
        values = [shown(getattr(client, name)) for name in client.__struct_fields__]
        values += [found.value for found in clients.tables(client.id).values() if found and found.client]
        if client.parent_id is not None:
            values.append(clients.name(client.parent_id))
        if clients.blocked_by(client.id):
            values.append(ClientStatus.BLOCKED)
        text = "\n".join(values).casefold()
        return all(_has(text, spellings) for spellings in wanted)

    return keep


def did_has_words(words: Iterable[str], name_of: Callable[[int], str]) -> Callable[[Did], bool]:
    """Return a filter of DIDs that contain every word: in the number, the status, or the account's id or name.

    ``name_of`` returns the name of an account.
    """
    wanted = [_spellings(word) for word in words]
    of_account: dict[int, str] = {}

    def keep(did: Did) -> bool:
        text = of_account.get(did.account_id)
        if text is None:
            text = of_account[did.account_id] = f"\n{did.account_id}\n{name_of(did.account_id)}\n".casefold()
        text = did.number.casefold() + text + did.status
        return all(_has(text, spellings) for spellings in wanted)

    return keep


def _has(text: str, spellings: Spellings) -> bool:
    return any(one in text for one in spellings)


def _spellings(word: str) -> Spellings:
    """Return the word as typed and, if it may be a number, in normal form (engine.md 2.1)."""
    found = {word.casefold()}
    if any(char.isdigit() for char in word):
        with suppress(ValueError):
            found.add(normal_number(word).casefold())
    return frozenset(found - {""})


def _owners(word: str, book: View) -> frozenset[int]:
    """Return the accounts that own a DID which begins with the word."""
    with suppress(ValueError):
        digits = normal_number(word)
        if len(digits) >= FEWEST_DIGITS and digits.isdigit():
            return frozenset(did.account_id for did in book.dids_from(digits))
    return frozenset()
