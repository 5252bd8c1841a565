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

_UNWRITTEN = "enabled\ndisabled\nblocked\nallow_any"
"""Texts that are searched but that the JSON of an account does not contain."""
_LONGEST_INTEGER = 15
"""Digits of an integer that JSON certainly writes as a list does. A larger limit of calls may have an exponent."""

Spellings = frozenset[str]
"""A word as typed and, if it may be a number, in normal form."""


def has_words(words: Iterable[str], clients: Clients, book: View) -> Callable[[Account], bool]:
    """Return a filter of accounts that contain every word.

    A word may occur in a column, in the client's name, in an inherited table or plan, or in ``enabled``,
    ``disabled`` or ``blocked``. It may also begin one of the account's DIDs.
    """
    clients.prefetch()
    wanted = [(_spellings(word), _owners(word, book)) for word in words]
    tests = [_may_have(spellings, owners, clients) for spellings, owners in wanted]

    def keep(account: Account) -> bool:
        encoded = _encode(account).decode().casefold()
        for test in tests:
            if not test(account, encoded):
                return False
        text = account_text(account, clients).casefold()
        return all(account.id in owners or any(one in text for one in spellings) for spellings, owners in wanted)

    return keep


_encode = msgspec.json.Encoder().encode


def _may_have(spellings: Spellings, owners: frozenset[int], clients: Clients) -> Callable[[Account, str], bool]:
    """Return a quick test, which returns False for most of the accounts that do not contain the word.

    It searches the account's JSON, which is encoded four times faster than :func:`account_text`.
    """
    if not all(map(_is_written, spellings)):
        return lambda account, encoded: True
    first, *others = spellings
    of_client: dict[int, bool] = {}

    def in_client(client_id: int) -> bool:
        text = _client_text(client_id, clients).casefold()
        found = of_client[client_id] = any(one in text for one in spellings)
        return found

    def test(account: Account, encoded: str) -> bool:
        if first in encoded or account.id in owners:
            return True
        client_id = account.client_id
        found = of_client.get(client_id)
        return (in_client(client_id) if found is None else found) or any(one in encoded for one in others)

    return test


def _is_written(spelling: str) -> bool:
    """Return True if the JSON of each account with this text contains it as written."""
    return (
        spelling.isprintable()
        and not any(char in '";\\' for char in spelling)
        and spelling not in _UNWRITTEN
        and not (spelling.isdigit() and len(spelling) > _LONGEST_INTEGER)
    )


def _client_text(client_id: int, clients: Clients) -> str:
    standing = clients.standing(client_id)
    tables = (standing.rate_table, standing.routing_plan, standing.term_rate_table)
    return "\n".join([clients.name(client_id), *(found.value for found in tables if found)])


def account_text(account: Account, clients: Clients) -> str:
    """Return all that is searched of an account, a line each."""
    values = [
        shown(value)
        for name in account.__struct_fields__
        if name != "password" and (value := getattr(account, name)) is not None and not isinstance(value, bool)
    ]
    tables = (clients.rate_table(account), clients.routing_plan(account), clients.term_rate_table(account))
    values += [found.value for found in tables if found and found.client]
    values += [clients.name(account.client_id), "disabled" if account.disabled else "enabled"]
    if clients.blocked_by(account.client_id):
        values.append("blocked")
    return "\n".join(values)


def client_has_words(words: Iterable[str], clients: Clients) -> Callable[[Client], bool]:
    """Return a filter of clients that contain every word, also in a reseller's name or in an inherited value."""
    clients.prefetch()
    wanted = [_spellings(word) for word in words]

    def keep(client: Client) -> bool:
        values = [shown(getattr(client, name)) for name in client.__struct_fields__]
        values += [found.value for found in clients.tables(client.id).values() if found and found.client]
        if client.parent_id is not None:
            values.append(clients.name(client.parent_id))
        if clients.blocked_by(client.id):
            values.append(ClientStatus.BLOCKED)
        text = "\n".join(values).casefold()
        return all(any(one in text for one in spellings) for spellings in wanted)

    return keep


def did_has_words(words: Iterable[str], name_of: Callable[[int], str]) -> Callable[[Did], bool]:
    """Return a filter of DIDs that contain every word: in the number, the status, or the account's id or name.

    ``name_of`` returns the name of an account.
    """
    wanted = [_spellings(word) for word in words]

    def keep(did: Did) -> bool:
        number = did.number.casefold()
        if all(any(one in number for one in spellings) for spellings in wanted):
            return True
        text = f"{number}\n{did.status}\n{did.account_id}\n{name_of(did.account_id)}".casefold()
        return all(any(one in text for one in spellings) for spellings in wanted)

    return keep


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
