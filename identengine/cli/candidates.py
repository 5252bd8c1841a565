"""The candidates of an explanation as a table: what each account requires, and what ruled it out (engine.md 8.7).

Rule: it decides and orders nothing. :mod:`identengine.identify.explain` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from identengine.cli.output import Column, facts, say, table
from identengine.errors import counted, quoted
from identengine.model.reasons import Reason
from identengine.provisioning.changes import shown

if TYPE_CHECKING:
    from identengine.identify.explain import Candidate, Explanation
    from identengine.model.records import Decision, Request

_FOUND = "(found)"
_COLUMNS = (
    Column("ID", right=True, firm=True),
    Column("Account"),
    Column("Client"),
    Column("Matched by", firm=True),
    Column("Rank"),
    Column("Requires"),
    Column("Ruled out by", firm=True),
)
_PASSWORD = {
    Reason.BAD_PASSWORD.value: "another password",
    Reason.AUTH_REQUIRED.value: "a password; the call has none",
    "passwordless_name": "a password of its own, since passwordless_name is deny",
}
"""The requirement of a password, by the value of ``ruled_out_by``."""
_CRITERIA = {
    "mask": "a longer mask",
    "tech_prefix": "a longer tech prefix",
    "gateway": "a gateway",
    "port": "a port",
    "protocol": "a protocol",
}
"""The advantage of an account that ranks higher, by the criteria of a rank."""


def print_decision(decision: Decision) -> None:
    """Print a decision: accepted or the reason, then its fields."""
    say("accepted" if decision.accepted else f"rejected: {decision.reason}")
    known = [
        (name, shown(value))
        for name, value in msgspec.structs.asdict(decision).items()
        if value is not None and name not in ("accepted", "reason")
    ]
    facts([*known, ("expected", _expected(decision))])


def _expected(decision: Decision) -> str | None:
    """Return the usable values of the field that made a request unusable, or None for other decisions."""
    from identengine.engine.lifecycle import USABLE

    if decision.reason is Reason.INVALID_DESTINATION:
        return f"dst_number: {USABLE['dst_number']}"
    return USABLE.get(decision.field) if decision.field is not None else None


def print_candidates(explanation: Explanation, request: Request) -> None:
    """Print the candidates of a request as a table, or the reason why there are none."""
    shown = explanation.candidates
    if not shown:
        say(_why_none(explanation.decision))
        return
    table(_COLUMNS, (_row(candidate, shown, request) for candidate in shown))
    if explanation.hidden:
        say(
            f"Not shown: {counted(explanation.hidden, 'candidate')} further from this call. Use --all to show all."
        )
    elif explanation.cut:
        say("More candidates are not shown.")


def requirements(candidate: Candidate, request: Request) -> list[str]:
    """Return each condition that a request does not meet, with the value of the request, as text."""
    return [_requirement(column, values, candidate, request) for column, values in candidate.requires.items()]


def _requirement(column: str, values: Sequence[str], candidate: Candidate, request: Request) -> str:
    choice = " or ".join(values)
    if column == "tech_prefix":
        dialled = f"dialled {request.dst_number}" if request.dst_number else "no number was dialled"
        return f"tech prefix {choice}; {dialled}"
    if column == "gateways":
        return f"gateway {choice}; " + _got("the call came by", request.gateway, "gateway")
    if column == "term_protocol":
        return f"protocol {choice}; " + _got("the call uses", request.protocol, "protocol")
    if column == "term_port":
        return f"port {choice}; " + _got("the call came from port", request.src_port, "port")
    if column == "password":
        return _PASSWORD.get(candidate.ruled_out_by or "", "a password")
    return "the originator on" if column == "orig_enabled" else "the terminator on"


def _got(words: str, value: object, what: str) -> str:
    text = "" if value is None else str(value).strip()
    return f"{words} {text}" if text else f"the call has no {what}"


def _row(candidate: Candidate, shown: Sequence[Candidate], request: Request) -> tuple[str, ...]:
    return (
        str(candidate.account_id),
        candidate.account_name,
        f"{candidate.client_id} {candidate.client_name}",
        f"{candidate.matched_by} {candidate.matched}",
        ", ".join(_rank(candidate)),
        "\n".join(requirements(candidate, request)) or _preferred(candidate, shown[0]),
        candidate.ruled_out_by or _FOUND,
    )


def _rank(candidate: Candidate) -> Iterator[str]:
    """Yield the criteria of a rank that are set, the first one first."""
    rank = candidate.rank
    if candidate.matched_by == "ip":
        yield f"mask {rank.mask}"
    if rank.tech_prefix:
        yield f"prefix {rank.tech_prefix}"
    for name, is_set in (("gateway", rank.gateway), ("port", rank.port), ("protocol", rank.protocol)):
        if is_set:
            yield name


def _preferred(candidate: Candidate, best: Candidate) -> str:
    """Return the advantage of the best candidate over another one that meets its own conditions too."""
    why = candidate.ruled_out_by
    if why == "rank":
        ahead = [name for name in _CRITERIA if getattr(best.rank, name) > getattr(candidate.rank, name)]
        return f"nothing; {best.account_id} has {_CRITERIA[ahead[0]]}" if ahead else "nothing"
    if why == "class":
        return f"nothing; {best.account_id} matches by {best.matched_by}"
    if why == "account_id":
        return f"nothing; {best.account_id} has the lower id"
    return ""


def _why_none(decision: Decision) -> str:
    """Return the reason why there are no candidates."""
    if decision.account_id is not None:
        return f"Account {decision.account_id} was found by its id. No other account is a candidate."
    if decision.reason is Reason.ACCOUNT_DISABLED:  # otherwise it would be a candidate
        return "The terminator part of the account that account_id names is off. No other account is a candidate."
    if decision.reason is Reason.INVALID_REQUEST:
        return f"The request is invalid: {decision.field} {quoted(decision.value)}. No account was looked up."
    if decision.reason is Reason.INVALID_DESTINATION:
        return "The request is invalid: dst_number is not a number. No account was looked up."
    if decision.reason is Reason.NOT_READY:
        return "The store has no version of the book yet."
    return "No account of the book matches this request."
