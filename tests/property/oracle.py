"""A slow, linear implementation of the spec that computes correct answers (engine.md 2, 3, 4, 6, 7).

It is written so that a reader can check it against the text line by line, and shares no code with the engine. Each
request takes one loop over all accounts. It has its own normal forms, and reads addresses with the standard
library. It uses only the plain data of :mod:`identengine.model.records`. Passwords in ``Rows`` are not encrypted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from property.oracle_forms import (
    Asked,
    Rejected,
    digest_verifies,
    network,
    network_text,
    normal_form,
    trimmed,
    validated,
    without_international,
)

from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, Did, Request

CODES = {  # engine.md 7: SIP, Q.850
    "invalid_request": (400, 96),
    "unknown_source": (403, 21),
    "gateway_mismatch": (403, 21),
    "protocol_mismatch": (403, 21),
    "port_mismatch": (403, 21),
    "tech_prefix_mismatch": (403, 21),
    "ambiguous": (403, 21),
    "auth_required": (401, 57),
    "bad_password": (403, 57),
    "account_disabled": (403, 21),
    "client_blocked": (403, 21),
    "src_not_allowed": (403, 21),
    "no_did": (403, 21),
    "invalid_destination": (484, 28),
}
"""The reasons that this oracle can return. Capacity, CPS and overload are outside its scope."""


RANK_RULES = (
    "mask",
    "tech prefix",
    "gateway",
    "port",
    "protocol",
    "lowest id",
    "tech_prefix_first swaps",
    "credentials decide a tie",
)
"""The rules that can rank one candidate before another (engine.md 3.3, 3.4, 3.6)."""


Overrides = Mapping[tuple[str, int | None], tuple[int, int]]
"""Codes from the config: from (reason, account id or None for all) to SIP and Q.850 codes."""


@dataclass(frozen=True)
class Rows:
    """One version of the book, with plain passwords."""

    clients: tuple[Client, ...]
    accounts: tuple[Account, ...]
    dids: tuple[Did, ...] = ()
    version: int = 1

    def client(self, client_id: int) -> Client:
        return next(client for client in self.clients if client.id == client_id)

    def chain(self, client_id: int) -> list[Client]:
        """Return the client and the resellers above it, in order."""
        chain = [self.client(client_id)]
        while chain[-1].parent_id is not None:
            chain.append(self.client(chain[-1].parent_id))
        return chain


@dataclass
class Expected:
    """The correct answer, and the rules that decided it, for the statistics of the rules."""

    fields: dict[str, Any]
    """The fields of the Decision as ``msgspec.to_builtins`` returns them, without fields that have no value."""
    src_choice: frozenset[str] | None = None
    """The allowed values of ``src_number`` if ``overwrite`` replaced the number. It is then not in ``fields``."""
    rules: list[str] = field(default_factory=list)

    def agrees(self, answer: Mapping[str, Any]) -> bool:
        rest = dict(answer)
        if self.src_choice is not None and rest.pop("src_number", None) not in self.src_choice:
            return False
        return rest == self.fields


class Candidate(NamedTuple):
    account: Account
    mask: int
    matched: str


def decide(rows: Rows, options: IdentifyOptions, overrides: Overrides, request: Request, mode: str) -> Expected:
    """Return the correct answer to ``request``. ``mode`` is ``authorize`` or ``identify``."""
    expected = Expected({"accepted": False, "version": rows.version})  # 8.1: each answer names its version
    direction = trimmed(request.direction) or "origination"  # interfaces.md 3: the default
    if direction in ("origination", "termination"):
        expected.fields["direction"] = direction
    try:
        answer = _answer(rows, options, request, direction, expected)
        answer["accepted"] = True
        if mode == "authorize":
            answer["unreserved"] = True  # there is no set of calls
    except Rejected as no:
        named = no.account.id if no.account else None
        codes = overrides.get((no.reason, named)) or overrides.get((no.reason, None)) or CODES[no.reason]
        answer = {
            "reason": no.reason,
            "sip_code": codes[0],
            "q850": codes[1],
            "field": no.field,
            "value": no.value,
        }
        if no.account:  # 3.7: a reject names the account only if one was found
            answer |= _who(rows, no.account)
    expected.fields |= {name: value for name, value in answer.items() if value is not None}
    return expected


def _answer(
    rows: Rows, options: IdentifyOptions, request: Request, direction: str, expected: Expected
) -> dict[str, Any]:
    """Follow engine.md 6: validate, identify, credentials, client status, strip, Src Policy, answer."""
    asked, account_id = validated(request, direction, options)
    if direction == "termination" and account_id is not None:  # 3.9: routing has chosen the vendor
        account = next((account for account in rows.accounts if account.id == account_id), None)
        if account is None:
            raise Rejected("unknown_source")
        if not account.term_enabled:
            raise Rejected("account_disabled")
        answer = {"matched_by": "account_id", "ambiguous": False}
    else:
        winner, ambiguous = _identified(rows, options, asked, direction, expected.rules)
        account = winner.account
        answer = {"matched_by": str(account.ident_by), "matched": winner.matched, "ambiguous": ambiguous}

    # 3.5: checked after identification, with no fall-through; a blocked reseller above counts too
    if any(client.status == "blocked" for client in rows.chain(account.client_id)):
        raise Rejected("client_blocked", account)
    if asked.dst_number is None:  # 3.9, in both directions
        raise Rejected("invalid_destination", account)

    answer |= _who(rows, account) | {"tech_prefix": account.tech_prefix, "src_rewritten": False}
    answer |= {"src_number": asked.src_number, "dst_number": asked.dst_number}
    prefix = account.tech_prefix or ""
    if direction == "termination":
        if account_id is not None:
            answer["dst_number"] = prefix + asked.dst_number  # 3.9
        return answer | _where_to_send(rows, account)

    answer["dst_number"] = asked.dst_number[len(prefix) :]  # 3.9: once, not normalised again
    if not answer["dst_number"]:
        raise Rejected("invalid_destination", account)
    _src_policy(rows, options, account, asked, answer, expected)
    answer["rate_table"] = _first(account.orig_rate_table, (c.rate_table for c in rows.chain(account.client_id)))
    answer["routing_plan"] = _first(
        account.orig_routing_plan, (c.routing_plan for c in rows.chain(account.client_id))
    )
    answer["tag"] = account.orig_tag
    return answer


def _identified(
    rows: Rows, options: IdentifyOptions, asked: Asked, direction: str, rules: list[str]
) -> tuple[Candidate, bool]:
    """Return the account of the call, and True if the match was ambiguous (engine.md 3.1-3.8)."""
    classes: list[str] = list(options.classes)  # 3.2
    if direction == "origination" and options.passwordless_name == "after_ip" and "name" in classes:
        # 3.6: a class of its own, tried right after ip
        classes.insert(classes.index("ip") + 1 if "ip" in classes else len(classes), "passwordless name")

    candidates: dict[str, list[Candidate]] = {cls: [] for cls in classes}
    disabled_would_match = False
    near_misses: set[str] = set()
    for account in rows.accounts:
        for cls in classes:
            hit = (
                hit_of(account, asked, direction, options) if _in_class(account, cls, direction, options) else None
            )
            if hit is None:
                continue
            failed = failed_constraint(account, asked, options)
            if not account.orig_enabled and not account.term_enabled:  # 3.5: a disabled account hides no other
                disabled_would_match |= failed is None
            elif not (account.orig_enabled if direction == "origination" else account.term_enabled):
                pass  # 3.5, 3.8: for this direction it does not exist
            elif failed is None:
                candidates[cls].append(hit)
            else:
                near_misses.add(failed)

    for cls in classes:  # 3.2: the first class with a candidate decides
        if candidates[cls]:
            return _best(candidates[cls], cls, options, asked, direction, rules)
    if disabled_would_match:  # 3.5: before any near miss
        raise Rejected("account_disabled")
    for failed in ("tech_prefix", "port", "protocol", "gateway"):  # 3.7: the account that got furthest
        if failed in near_misses:
            raise Rejected(f"{failed}_mismatch")
    raise Rejected("unknown_source")


def _in_class(account: Account, cls: str, direction: str, options: IdentifyOptions) -> bool:
    """Return True if the account is tried in this class (engine.md 3.2, 3.6)."""
    if account.ident_by == "name" and account.password is None and direction == "origination":
        # With "deny", the account counts as missing.
        return cls == {"deny": None, "after_ip": "passwordless name", "normal": "name"}[options.passwordless_name]
    return account.ident_by == cls


def hit_of(account: Account, asked: Asked, direction: str, options: IdentifyOptions) -> Candidate | None:
    """Return the hit of an ident value, or None. Of several networks, the longest mask counts (engine.md 3.1)."""
    if account.ident_by == "ip":
        around = [net for net in map(network, account.ident) if asked.src_ip is not None and asked.src_ip in net]
        if not around:
            return None
        longest = max(around, key=lambda net: net.prefixlen)
        return Candidate(account, longest.prefixlen, network_text(longest))
    if account.ident_by == "name":
        return Candidate(account, 0, asked.name) if asked.name in account.ident and asked.name else None
    number = asked.src_number  # the caller's
    if direction == "termination":  # the callee's number, compared without the international prefix (2.1)
        number = without_international(asked.dst_number or "", options.international_prefixes)
    anis = [without_international(normal_form(ani), options.international_prefixes) for ani in account.ident]
    return Candidate(account, 0, number) if number and number in anis else None


def failed_constraint(account: Account, asked: Asked, options: IdentifyOptions) -> str | None:
    """Return the first constraint that fails, in the order of engine.md 3.7.

    A missing field satisfies none (3.1).
    """
    if account.gateways and not any(_same_word(gateway, asked.gateway) for gateway in account.gateways):
        return "gateway"
    if _tells_protocol(account, options) and not _same_word(account.term_protocol, asked.protocol):
        return "protocol"
    if _tells_port(account, options) and account.term_port != asked.src_port:
        return "port"
    if account.tech_prefix and not (asked.dst_number or "").startswith(account.tech_prefix):
        return "tech_prefix"
    return None


def _same_word(ours: str | None, theirs: str | None) -> bool:
    """Compare protocols or gateways, which are trimmed and case-insensitive (engine.md 2.3)."""
    return ours is not None and theirs is not None and ours.strip().casefold() == theirs.strip().casefold()


def _tells_protocol(account: Account, options: IdentifyOptions) -> bool:
    return account.term_protocol is not None and options.match_protocol == "always"


def _tells_port(account: Account, options: IdentifyOptions) -> bool:
    return account.term_port is not None and options.match_port == "always"


def _best(
    candidates: list[Candidate], cls: str, options: IdentifyOptions, asked: Asked, direction: str, rules: list[str]
) -> tuple[Candidate, bool]:
    """Apply rank, credentials and ties (engine.md 3.3, 3.4, 3.6)."""

    def rank(candidate: Candidate, swap: bool) -> tuple[tuple[str, int], ...]:
        account = candidate.account
        first = [("mask", candidate.mask), ("tech prefix", len(account.tech_prefix or ""))]
        return (
            *(reversed(first) if swap else first),
            ("gateway", len(account.gateways) > 0),
            ("port", _tells_port(account, options)),
            ("protocol", _tells_protocol(account, options)),
        )

    def equals_of_the_best(swap: bool) -> list[Candidate]:
        best = max([value for _, value in rank(candidate, swap)] for candidate in candidates)
        return [c for c in candidates if [value for _, value in rank(c, swap)] == best]

    swap = options.rank == "tech_prefix_first"
    tied = equals_of_the_best(swap)
    if swap and tied != equals_of_the_best(False):
        rules.append("tech_prefix_first swaps")
    behind = [c for c in candidates if c not in tied]
    if behind:
        best, second = rank(tied[0], swap), max((rank(c, swap) for c in behind), key=lambda r: [v for _, v in r])
        rules.append(next(ours[0] for ours, theirs in zip(best, second, strict=True) if ours != theirs))

    brought = asked.password is not None or asked.digest is not None
    left = [c for c in tied if direction == "termination" or _verified(c.account, cls, asked, brought, options)]
    if not left:  # no fall-through to another rank or class
        raise Rejected("bad_password" if brought else "auth_required")
    if len(left) < len(tied):
        rules.append("credentials decide a tie")
    if len(left) > 1:
        if options.strict_ambiguity and len({c.account.client_id for c in left}) > 1:
            raise Rejected("ambiguous")
        rules.append("lowest id")
    return min(left, key=lambda c: c.account.id), len(left) > 1


def _verified(account: Account, cls: str, asked: Asked, brought: bool, options: IdentifyOptions) -> bool:
    """Return True if the account verifies. One without a password counts as verified (engine.md 3.6)."""
    if account.password is None:
        return True
    if not brought:
        return cls != "name" and not options.require_password
    good = asked.password is None or asked.password == account.password
    return good and (asked.digest is None or digest_verifies(asked.digest, asked.name, account.password))


def _who(rows: Rows, account: Account) -> dict[str, Any]:
    client = rows.client(account.client_id)
    return {
        "account_id": account.id,
        "account_name": account.name,
        "client_id": client.id,
        "client_name": client.name,
    }


def _first(own: str | None, above: Iterable[str | None]) -> str | None:
    """Return the account's value, or else its client's or the nearest reseller's (engine.md 1.6)."""
    return next((value for value in (own, *above) if value is not None), None)


def _where_to_send(rows: Rows, account: Account) -> dict[str, Any]:
    """Return the fields of a termination answer that name the destination (engine.md 3.9)."""
    host = None
    if account.ident_by == "ani":
        host = account.term_routing_ip
    elif account.ident_by == "ip":  # the first single address in ident, as written
        singles = [text for text in account.ident if network(text).prefixlen == network(text).max_prefixlen]
        host = singles[0].split("/")[0] if singles else None
    chain = rows.chain(account.client_id)
    return {
        "host": host,
        "port": account.term_port,
        "protocol": account.term_protocol,
        "proxy": account.term_proxy,
        "rate_table": _first(account.term_rate_table, (client.term_rate_table for client in chain)),
        "tag": account.term_tag,
    }


def active_dids(rows: Rows, account: Account, options: IdentifyOptions) -> frozenset[str]:
    """Return the account's active DIDs without international prefix, omitting empty ones (engine.md 1.3, 2.1)."""
    own = [did.number for did in rows.dids if did.account_id == account.id and did.status == "active"]
    numbers = (without_international(normal_form(number), options.international_prefixes) for number in own)
    return frozenset(number for number in numbers if number)


def _src_policy(
    rows: Rows,
    options: IdentifyOptions,
    account: Account,
    asked: Asked,
    answer: dict[str, Any],
    expected: Expected,
) -> None:
    """Apply the Src Policy (engine.md 4)."""
    if account.src_policy == "allow_any":
        return
    dids = active_dids(rows, account, options)
    if account.src_policy == "overwrite" and not dids:  # 4.4
        raise Rejected("no_did", account)
    if asked.src_number in dids:  # 4.1
        return
    if account.src_policy == "reject":  # 4.2
        raise Rejected("src_not_allowed", account)
    del answer["src_number"]
    answer["src_rewritten"] = True
    expected.src_choice = dids
