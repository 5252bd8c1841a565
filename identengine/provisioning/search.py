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
    wanted = [(_spellings(word), _owners(word, book)) for word in words]
    tests = [_may_have(spellings, owners, clients) for spellings, owners in wanted]

    def keep(account: Account) -> bool:
        encoded = _encode(account).decode().casefold()
        for test in tests:
            if not test(account, encoded):
                return False
        text = account_text(account, clients).casefold()
        return all(account.id in owners or _has(text, spellings) for spellings, owners in wanted)

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
    """Return all that is searched of an account, a line each.

    The columns are spelled out, since a search may have to read 100,000 accounts within a second.
    """
    a, standing = account, clients.standing(account.client_id)
    rate, plan, term = standing.rate_table, standing.routing_plan, standing.term_rate_table
    limits = [shown(limit) for limit in (a.orig_capacity, a.orig_cps, a.term_capacity) if limit is not None]
    return (
        f"{a.id}\n{a.client_id}\n{clients.name(a.client_id)}\n{a.name}\n{a.ident_by}\n{';'.join(a.ident)}\n"
        f"{a.tech_prefix or ''}\n{';'.join(a.gateways)}\n{a.notes or ''}\n"
        f"{a.orig_rate_table or (rate.value if rate else '')}\n"
        f"{a.orig_routing_plan or (plan.value if plan else '')}\n"
        f"{a.term_rate_table or (term.value if term else '')}\n"
        f"{a.orig_tag or ''}\n{a.src_policy}\n{a.term_tag or ''}\n{a.term_routing_ip or ''}\n"
        f"{a.term_protocol or ''}\n{a.term_proxy or ''}\n{a.term_port or ''}\n{';'.join(limits)}\n"
        f"{'enabled' if a.orig_enabled or a.term_enabled else 'disabled'}\n"
        f"{'blocked' if standing.blocked_by else ''}"
    )


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
