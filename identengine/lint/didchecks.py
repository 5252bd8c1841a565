"""The checks of DIDs: accounts that need one, and numbers that an international prefix makes equal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from identengine.lint.findings import Probe, Trouble
from identengine.lint.pages import Pages
from identengine.lint.rowchecks import NO_TROUBLE, found_probe
from identengine.lint.values import request_of
from identengine.model.numbers import national
from identengine.model.records import Account, Did, DidStatus, IdentBy, SrcPolicy


def no_dids(account: Account, book: Pages) -> Iterable[Trouble]:
    """Yield an account that overwrites the calling number and has no active DID."""
    if account.src_policy is not SrcPolicy.OVERWRITE or not account.orig_enabled:
        return NO_TROUBLE
    if any(did.status is DidStatus.ACTIVE for did in book.account_dids(account.id)):
        return NO_TROUBLE
    text = f'account {account.id}: src_policy: "overwrite" needs an active DID, so every call is rejected.'
    many = '{} accounts with src_policy "overwrite" have no active DID: {}. Every call of them is rejected.'
    probe = found_probe(account)
    return (Trouble("no_dids", "warning", text, many, (account.id,), (account.client_id,), (), probe),)


def collisions(book: Pages, prefixes: tuple[str, ...]) -> Iterator[Trouble]:
    """Yield each pair of DIDs that an international prefix makes equal."""
    if not prefixes:
        return
    seen: dict[str, Did] = {}
    for did in book.dids():
        if not did.number.startswith(prefixes):
            continue
        number = national(did.number, prefixes)
        other = book.did(number) if number else None
        if other is None and len(prefixes) > 1:
            other = seen.setdefault(number, did)
        if other is not None and other.number != did.number:
            yield _collision(book, other, did)


def _collision(book: Pages, one: Did, other: Did) -> Trouble:
    accounts = tuple(dict.fromkeys((one.account_id, other.account_id)))
    owners = [account for account in map(book.account, accounts) if account is not None]
    text = (
        f"the DIDs {one.number} (account {one.account_id}) and {other.number} (account {other.account_id}) are "
        "the same number without the international prefix, so it counts for both"
    )
    clients = tuple(dict.fromkeys(owner.client_id for owner in owners))
    probe = next(filter(None, (_shown_by(owner, one.number) for owner in owners[::-1])), None)
    return Trouble("did_collision", "warning", text, None, accounts, clients, (one.number, other.number), probe)


def _shown_by(account: Account, number: str) -> Probe | None:
    """Return a request in which an account presents the number, or None if its Src Policy accepts any number."""
    if account.src_policy is SrcPolicy.ALLOW_ANY or account.ident_by is IdentBy.ANI or not account.orig_enabled:
        return None
    probe = found_probe(account)
    if probe is None:
        return None
    request = request_of(account, account.ident[0])
    return probe._replace(request=msgspec.structs.replace(request, src_number=number))
