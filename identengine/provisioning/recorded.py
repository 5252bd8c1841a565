"""Recorded decisions, and the versions of the book that made them (engine.md 8.8).

Candidates are found by the version that was in use, with the matching code of ``explain``. Rule: the record holds
no credential. A credential that verified counts as verified for its account, and as wrong for all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice

import msgspec

from identengine.engine.core import Engine
from identengine.engine.settings import EngineSettings
from identengine.errors import StoreError
from identengine.identify.explain import Candidate, CandidateLimits, Explanation
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Reason
from identengine.model.records import Account, Client, Decision, DidStatus, Direction, Request, SrcPolicy
from identengine.provisioning.excerpt import Tell, excerpt
from identengine.provisioning.listing import id_in
from identengine.provisioning.since import Later, changes_since
from identengine.record.entry import Recorded
from identengine.store.snapshot import Snapshot
from identengine.store.versions import Store

MOST_DIDS = 20
"""Largest number of DIDs that are listed (interfaces.md 2, "JSON shapes")."""
_CLOCK_ERROR = 60.0
"""Largest step of a clock, in seconds, by which a version may seem later than its decision."""
_PROOF, _OTHER = "verified", "not verified"
"""The password of a request whose credential verified, and the passwords of all other accounts."""
_BY_MATCHING = frozenset(
    (
        Reason.UNKNOWN_SOURCE, Reason.GATEWAY_MISMATCH, Reason.PROTOCOL_MISMATCH, Reason.PORT_MISMATCH,
        Reason.TECH_PREFIX_MISMATCH, Reason.AMBIGUOUS, Reason.AUTH_REQUIRED, Reason.BAD_PASSWORD,
        Reason.ACCOUNT_DISABLED, Reason.CLIENT_BLOCKED, Reason.SRC_NOT_ALLOWED, Reason.NO_DID,
    )
)  # fmt: skip
"""The reasons that depend on the book, the request and the options alone."""

OptionsOf = Callable[[str], IdentifyOptions]
"""A function from the name of a switch to its options."""


class Owned(msgspec.Struct, frozen=True):
    """The active DIDs of an account: their number, and the first of them."""

    count: int
    first: tuple[str, ...]


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded decision with its candidates, and the account that was nearest."""

    entry: Recorded
    explanation: Explanation | None = None
    """None if the version cannot be read."""
    account: Account | None = None
    """The nearest account, as it was: that of the decision, or else the nearest candidate."""
    client: Client | None = None
    """The client of that account."""
    nearest: Candidate | None = None
    """That account as a candidate; None if the request named it by ``account_id``."""
    dids: Owned | None = None
    """The DIDs of that account, if the decision compared them."""
    unreadable: str | None = None
    """The reason why the version cannot be read."""
    otherwise: Decision | None = None
    """The decision of the same version by the present options, if it is another one."""


def circumstances(
    store: Store, entries: Iterable[Recorded], options_of: OptionsOf, limits: CandidateLimits, tell: Tell
) -> Iterator[Circumstances]:
    """Yield the circumstances of each decision, in the order of ``entries``.

    Decisions in sequence by one version share a walk through its accounts. ``limits`` are those of the candidates.
    """
    for version, group in groupby(entries, lambda entry: entry.decision.version or 0):
        decided = list(group)
        try:
            with store.read(version) as snapshot:
                _require_in_use(snapshot, decided[0])
                found = list(_of_version(snapshot, decided, options_of, limits, tell))
        except StoreError as error:
            found = [Circumstances(entry=entry, unreadable=str(error)) for entry in decided]
        yield from found


def changes(store: Store, found: Circumstances) -> tuple[list[Later], int]:
    """Return what has changed since a decision for the account that was nearest, and the number of other DIDs.

    Raise StoreError if a version cannot be read.
    """
    if found.account is None:
        return [], 0
    with store.read(found.entry.decision.version) as then, store.read() as now:
        return changes_since(then, now, found.account)


def _require_in_use(snapshot: Snapshot, entry: Recorded) -> None:
    """Raise StoreError if a version cannot have made a decision. Version 0 stands for no version."""
    if snapshot.version and snapshot.info.at > entry.at + _CLOCK_ERROR:
        raise StoreError(
            f"version {snapshot.version} of this store is newer than the decision, so the store was replaced since"
        )


def _of_version(
    snapshot: Snapshot, entries: list[Recorded], options_of: OptionsOf, limits: CandidateLimits, tell: Tell
) -> Iterator[Circumstances]:
    """Yield the circumstances of decisions that one version made."""
    if not snapshot.version:
        yield from (Circumstances(entry=entry) for entry in entries)
        return
    # The options that shape the index are the same for all switches.
    book = excerpt(snapshot, (_asked(entry) for entry in entries), options_of(""), tell)
    for entry in entries:
        engine = Engine(_Settings(explains=limits, proven=_proven(snapshot, entry)))
        engine.take_up(book)
        explanation = _explained(engine, entry, options_of)
        account_id, nearest = _nearest(engine, entry, options_of, explanation)
        account = snapshot.account(account_id) if account_id else None
        yield Circumstances(
            entry=entry,
            explanation=explanation,
            account=account,
            client=snapshot.client(account.client_id) if account else None,
            nearest=nearest,
            dids=_dids(snapshot, entry.decision, account) if account else None,
            otherwise=_otherwise(entry, explanation.decision),
        )


def _explained(engine: Engine, entry: Recorded, options_of: OptionsOf) -> Explanation:
    """Return the explanation of a recorded request. Raise the cause of a fault."""
    explanation = engine.explain(_asked(entry), options_of(entry.switch))
    if engine.faults:
        raise engine.faults[-1]
    return explanation


def _nearest(
    engine: Engine, entry: Recorded, options_of: OptionsOf, explanation: Explanation
) -> tuple[int | None, Candidate | None]:
    """Return the id of the nearest account, and the account as a candidate. Either may be None."""
    found, named = explanation.candidates, entry.decision.account_id
    if named is None and len(found) > 1:
        engine.settings = msgspec.structs.replace(engine.settings, explains=CandidateLimits(None, 1))
        found = _explained(engine, entry, options_of).candidates
    if named is None and found:
        return found[0].account_id, found[0]
    if named is None and entry.decision.direction is Direction.TERMINATION:
        named = id_in(str(entry.request.account_id))
    return named, next((one for one in found if one.account_id == named), None)


class _Settings(EngineSettings, frozen=True, kw_only=True):
    """Settings whose passwords are placeholders: the one of the account that the credential verified for fits."""

    proven: str | None
    """The token of that account's password; None if the credential verified for no account."""

    def reveal(self, token: str) -> str:
        return _PROOF if token == self.proven else _OTHER


def _asked(entry: Recorded) -> Request:
    """Return the request with a placeholder for its credential."""
    return entry.request if entry.credential is None else msgspec.structs.replace(entry.request, password=_PROOF)


def _proven(snapshot: Snapshot, entry: Recorded) -> str | None:
    """Return the token of the password that the credential of a decision verified for, or None."""
    used = entry.credential
    account = snapshot.account(used.account_id) if used and used.verified and used.account_id else None
    return account.password if account else None


def _dids(snapshot: Snapshot, decision: Decision, account: Account) -> Owned | None:
    """Return the active DIDs of an account, or None if the decision did not compare them."""
    outward = decision.direction is Direction.TERMINATION
    if outward or decision.account_id is None or account.src_policy is SrcPolicy.ALLOW_ANY:
        return None
    active = (did.number for did in snapshot.account_dids(account.id) if did.status is DidStatus.ACTIVE)
    first = tuple(islice(active, MOST_DIDS))
    return Owned(len(first) + sum(1 for _ in active), first)


def _otherwise(entry: Recorded, now: Decision) -> Decision | None:
    """Return the decision by the present options if it is another one.

    The limits are not compared, nor are calls that exist already and faults.
    """
    then = entry.decision
    if then.accepted or then.reason not in _BY_MATCHING:
        same = then.account_id is None or then.account_id == now.account_id
    else:
        same = (then.reason, then.account_id) == (now.reason, now.account_id)
    return None if same else now
