"""Settings of one account that are valid and reject calls unexpectedly (engine.md 8.5, 3.6).

Imports, edits and lint use the same words.
"""

from __future__ import annotations

from identengine.book.mistakes import Mistake
from identengine.book.numbers import no_value_warnings
from identengine.errors import quoted
from identengine.model.records import Account, IdentBy


def account_warnings(account: Account) -> list[Mistake]:
    """Return a warning for each setting of an account that is probably a mistake."""
    found = own_constraints(account)
    for gateway in account.gateways:
        found += no_value_warnings("gateways", gateway)
    if account.term_protocol is not None:
        found += no_value_warnings("term_protocol", account.term_protocol)
    return found + no_password(account)


def own_constraints(account: Account) -> list[Mistake]:
    """Return a warning for each terminator port or protocol that blocks the account's own calls."""
    if not (account.orig_enabled and account.term_enabled):
        return []
    found = []
    for column, value in (("term_port", account.term_port), ("term_protocol", account.term_protocol)):
        if value is not None:
            what = column.removeprefix("term_")
            text = (
                f"both parts are enabled, so calls from this account that do not carry the {what} "
                f"{quoted(value)} are rejected too. Use one account for each direction."
            )
            many = (
                f"{{}} accounts with both parts enabled have a {what}: {{}}. Their own calls "
                "without it are rejected too. Use one account for each direction."
            )
            found.append(Mistake(column, str(value), text, many))
    return found


def no_password(account: Account) -> list[Mistake]:
    """Return the warning for an account that logs in by name without a password, if it is one."""
    if account.ident_by is not IdentBy.NAME or not account.orig_enabled or account.password is not None:
        return []
    text = (
        'an account with ident_by "name" and no password sends no calls while [identify] passwordless_name is '
        '"deny" (the default). Set a password.'
    )
    return [Mistake("password", None, text, _NO_PASSWORDS)]


_NO_PASSWORDS = (
    "{} accounts log in by name without a password: {}. They send no calls while [identify] passwordless_name is "
    '"deny" (the default). Set passwords.'
)
