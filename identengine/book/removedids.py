"""Ids of accounts that were removed: no other account gets one silently (engine.md 9.5).

Statistics and records of calls refer to an account by its id alone.
"""

from __future__ import annotations

from identengine.book.mistakes import Mistake
from identengine.errors import quoted
from identengine.model.records import Account
from identengine.store.draft import Draft


def reused_id(draft: Draft, account: Account) -> Mistake | None:
    """Return the mistake of a new account that has the id of a removed one, or None.

    An account with the same id, client and name is the removed account again.
    """
    for _info, before, after in draft.history(account):
        last = before if after is None else after
        if not isinstance(last, Account) or (last.client_id, last.name) == (account.client_id, account.name):
            return None
        text = (
            f"{account.id} was the id of the removed account {quoted(last.name)} of client {last.client_id}. "
            "Choose another id, or repeat with --reuse-id."
        )
        return Mistake("id", str(account.id), text)
    return None
