"""Random messages as objects, before they are encoded: all methods, by peers with a memory of their calls.

Most messages are plain, as real switches send them. A share of them is odd in one or several ways.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec
from fuzz.rounds import Case as Chance
from fuzz.values import value as any_value
from property.books import (
    BAD_ADDRESSES,
    BAD_NUMBERS,
    DIDS,
    GATEWAYS,
    INSIDE,
    NUMBERS,
    PORTS,
    PROTOCOLS,
    Case,
    Seeded,
    maybe,
    written,
)
from property.oracle import decide
from property.requests import random_request
from property.ways.books import is_usual
from property.ways.scenario import OFTEN

from identengine.model.records import Account, IdentBy, Request, SrcPolicy

METHODS = (
    *("authorize",) * 104,
    *("stop",) * 30,
    *("start",) * 25,
    *("update",) * 20,
    *("identify",) * 4,
    *("explain",) * 2,
    *("sync",) * 2,
    *("ping", "auth"),
)
REFRESHES = frozenset(("start", "update", "stop"))
LEGS_OF_A_CALL = 256
"""Largest number of legs of one call (docs/spec/decisions.md, D35)."""
MOST_HELD = 60
"""Number of calls that the peers continue or stop. They forget older calls, whose leases expire."""
USUAL_METHODS = (*("authorize",) * 50, *("stop",) * 20, *("start",) * 18, *("update",) * 12)
REPEATED_PERCENT = 12
"""Share of ``authorize`` that repeats an earlier one."""
ODD_PERCENT = 5
"""Share of messages whose form is odd."""
UNUSABLE: dict[str, tuple[Any, ...]] = {
    "src_ip": BAD_ADDRESSES,
    "src_port": (0, -1, 65536, 70_000, "70000", "sip", "5060.0", "", " 5060 ", 2**63, 2**64),
    "dst_number": (*BAD_NUMBERS, "", " ", "+", "4" * 64, None),
    "src_number": (*BAD_NUMBERS, "", " ", "anonymous"),
    "direction": ("both", "Origination", "", " ", " termination ", "termination"),
    "account_id": (0, -1, "x", "", " 1 ", "01", 2**63, 2**64, 2**64 + 1, "1.0"),
    "call_id": ("", " ", "\t\n", None, "\0"),
    "leg_id": ("", " ", "\t", "\0"),
    "interval": (0, -1, 604_801, "x", "", " 30 ", "1.5"),
    "password": ("", "wrong"),
    "name": ("", " ", "nobody", "a\ud800b"),
    "gateway": ("", " ", "elsewhere"),
    "protocol": ("", "\t", "mgcp"),
    "digest": ({}, {"username": " "}, {"response": "0" * 32}),
    "token": ("", " ", "wrong", 5, None),
}
"""Values by field that cannot be used, or that count as absent."""
LONG_IDS = ("x" * 255, "x" * 256, "x" * 257, "y" * 300, "ж" * 128, "ж" * 129, "é" * 255, "z" * 255 + "é")
ODD_IDS = (" padded ", "a\0b", 'quote"back\\slash', "ü@host", "😀", "tab\tend", "\x7f", "1", "null", "\u2028")
LEG_IDS = ("1", "2", "b", "B", "long-" * 60, "ж", "o", "t")
IDS: tuple[Any, ...] = (1, 7, 127, 128, 255, 65_536, 2**31, 2**53, 2**63 - 1, 2**64 - 1, 0, -1, -33, -(2**63))
TEXT_IDS = ("", "a", "b-17", "x" * 31, "x" * 32, "x" * 253, "x" * 254, "x" * 255, "x" * 300, "é", "\\u", "\ud800")


@dataclass
class Draft:
    """A message before it is encoded."""

    method: Any
    params: Any
    message_id: Any = ...
    """The id; ``...`` for a notification."""
    more: dict[str, Any] = field(default_factory=dict)
    """Further members, which replace others of the same name."""
    plain: bool = True
    """True if the usual way can be expected to decide the message."""
    host: str | None = None
    """The peer that should send the message; None for any."""
    fresh: Request | None = None

    def members(self) -> dict[str, Any]:
        """Return the members of the message. An absent member is missing."""
        members = {"jsonrpc": "2.0", "method": self.method, "id": self.message_id, "params": self.params}
        return {name: of for name, of in (members | self.more).items() if of is not ...}


class Peers:
    """The switches of one scenario, which repeat and continue their own calls."""

    def __init__(self, source: Seeded, seed: int, *, orderly: bool) -> None:
        """With ``orderly``, nearly all messages are plain, and nearly all calls pass apart from limits."""
        self._source = source
        self._orderly = orderly
        self._chance = Chance(seed)
        self._number = 0
        self._fresh = 0
        self._recent: deque[tuple[str, dict[str, Any], bool]] = deque(maxlen=40)
        """The host and the parameters of recent ``authorize``, and True if they were plain."""
        self._held: dict[str, tuple[str, dict[str, Any], bool]] = {}
        """The same of calls that probably hold slots, by call id: plain, and not stopped yet."""
        self._case: Case | None = None
        self._usual: list[Account] = []
        """The accounts of the case whose calls can be usual."""
        self._odd_ids = source.chance(30)

    def draft(self, case: Case) -> Draft:
        """Return the next message."""
        source = self._source
        method = source.pick(USUAL_METHODS if self._orderly else METHODS)
        if method in REFRESHES and not self._held and source.chance(100 if self._orderly else 80):
            method = "authorize"
        if method == "authorize":
            draft = self._authorize(case)
        elif method in REFRESHES:
            draft = self._refresh(method, case)
        elif method in ("identify", "explain"):
            draft = Draft(method, self._params(case)[0], plain=False)
            if source.chance(30):
                draft.params.pop("call_id", None)
        elif method == "sync":
            draft = Draft(method, self._list(), plain=False)
        elif method == "auth":
            draft = Draft(
                method, source.pick(({"token": "token-of-three"}, {"switch": "one"}, {}, None)), plain=False
            )
        else:
            draft = Draft(method, source.pick((..., None, {}, {"x": 1})), plain=False)
        if source.chance(0.04):
            draft = Draft(source.pick(("switch_up", "switch_down")), ..., plain=False)
        self._identify_message(draft)
        if source.chance(1 if self._orderly else ODD_PERCENT):
            for _ in range(source.count(1, 2)):
                self._spoil(draft)
        return draft

    # ---- calls

    def _authorize(self, case: Case) -> Draft:
        source = self._source
        if self._recent and source.chance(REPEATED_PERCENT):
            host, params, plain = source.pick(self._recent)
            params = dict(params)
            if source.chance(40):
                name = source.pick(("dst_number", "src_number", "src_ip", "gateway", "leg_id", "direction"))
                other = self._params(case)[0]
                params[name] = other.get(name)
            return Draft("authorize", params, plain=plain, host=host if source.chance(80) else None)
        params, plain = self._params(case)
        for _ in range(4 if self._orderly else 0):
            if plain and self._passes(case, params):
                break
            params, plain = self._params(case)
        fresh = None
        if source.chance(80):
            self._fresh += 1
            params["call_id"] = f"fresh-{self._fresh}@host"
            fresh = _as_request(params)
        else:
            params["call_id"] = self._call_id()
        if params["call_id"] is None:
            del params["call_id"]
        if source.chance(15):
            params["leg_id"] = source.pick(LEG_IDS)
        host = source.pick(OFTEN)
        self._recent.append((host, params, plain))
        if plain and "call_id" in params and self._passes(case, params):
            self._held[params["call_id"]] = host, params, plain
            if len(self._held) > MOST_HELD:
                del self._held[next(iter(self._held))]
        return Draft("authorize", dict(params), plain=plain, host=host, fresh=fresh)

    def _call_id(self) -> str | None:
        source = self._source
        if source.chance(6):
            return None
        if self._odd_ids and source.chance(15):
            return source.pick((*LONG_IDS, *ODD_IDS))
        return f"call-{source.count(1, 30)}"

    def _refresh(self, method: str, case: Case) -> Draft:
        """Return a ``start``, ``update`` or ``stop`` of a recent call, or of any call."""
        source = self._source
        params: dict[str, Any] = {"call_id": self._call_id()}
        plain, host = True, None
        chosen = self._call_of(method)
        if chosen is not None:
            sender, known, plain = chosen
            params = {"call_id": known.get("call_id")}
            for name in ("leg_id", "direction"):
                if name in known and source.chance(15):
                    params[name] = known[name]
            if method != "stop" and source.chance(8):
                params = dict(known)
            host = sender if source.chance(93) else None
        if method != "stop":
            if source.chance(5):
                params |= {name: of for name, of in self._params(case)[0].items() if name != "call_id"}
            if source.chance(15):
                params["interval"] = source.pick((1, 30, 60, "30", 604_800))
        rarely = 1 if self._orderly else 4
        if source.chance(rarely):
            params["leg_id"] = source.pick(LEG_IDS)
        if source.chance(rarely):
            params["direction"] = source.pick(("origination", "termination"))
        return Draft(method, params, plain=plain, host=host)

    def _call_of(self, method: str) -> tuple[str, dict[str, Any], bool] | None:
        """Return a call to continue or to stop, or None for a call that may be unknown."""
        source = self._source
        if self._held and source.chance(99 if self._orderly else 93):
            call_id = source.pick(tuple(self._held))
            stops = method == "stop" and source.chance(98 if self._orderly else 90)
            return self._held.pop(call_id) if stops else self._held[call_id]
        return source.pick(self._recent) if self._recent and source.chance(60) else None

    def _passes(self, case: Case, params: dict[str, Any]) -> bool:
        """Return True if the call passes, apart from limits and the options of single switches."""
        request = msgspec.convert(params, Request)
        return bool(decide(case.rows, case.options, {}, request, "identify").fields["accepted"])

    def _list(self) -> dict[str, Any]:
        """Return the parameters of ``sync``: some of the recent calls."""
        source = self._source
        calls = []
        for _, params, _ in self._recent:
            if source.chance(60):
                entry = [params.get("call_id"), params.get("leg_id"), params.get("direction")]
                calls.append(entry[: source.count(1, 3)] if source.chance(50) else entry)
        params = {"list_id": f"list-{source.count(1, 12)}", "calls": calls}
        if source.chance(30):
            params |= {"part": source.count(1, 2), "parts": 2}
        if source.chance(5):
            params["list_id"] = source.pick(("", " ", None))
        if source.chance(10):
            params[source.pick(("part", "parts"))] = source.pick((0, 3, "2", "x", 100_001, None))
        if source.chance(20):
            params |= {"calls": [], "confirm_empty": source.pick((True, False, None))}
        return params

    def many_legs(self, case: Case) -> list[Draft]:
        """Return authorizations of more legs than one call can have, and of some further calls."""
        source = self._source
        params = plain_params(source, case, source.pick(case.rows.accounts))
        if self._held:  # a call that passes
            params = source.pick(tuple(self._held.values()))[1]
        call_id = self._call_id()
        drafts = [
            Draft("authorize", params | {"call_id": call_id, "leg_id": f"{number}"})
            for number in range(LEGS_OF_A_CALL + 3)
        ]
        drafts += [Draft("authorize", params | {"call_id": f"call-{number}"}) for number in range(1, 31)]
        if source.chance(60):  # a job over so large a set takes several steps
            drafts.append(Draft(source.pick(("switch_up", "switch_down")), ..., plain=False))
            drafts.append(Draft("sync", self._list(), plain=False))
        for draft in drafts:
            self._identify_message(draft)
        return drafts

    def many_explanations(self, case: Case) -> list[Draft]:
        """Return more requests for ``explain`` than one batch answers."""
        return [Draft("explain", self._params(case)[0], number, plain=False) for number in range(20)]

    # ---- fields

    def _params(self, case: Case) -> tuple[dict[str, Any], bool]:
        """Return fields that nearly match an account, and True if they are plain."""
        source = self._source
        if source.chance(4):
            request = random_request(source, case)
            params = {name: of for name, of in msgspec.to_builtins(request).items() if of is not None}
            return params, False
        if case is not self._case:
            self._case, self._usual = case, [account for account in case.rows.accounts if is_usual(account)]
        account = source.pick(self._usual if self._usual and source.chance(90) else case.rows.accounts)
        params = plain_params(source, case, account)
        if source.chance(4):  # in a notation that is not the normal form
            name = source.pick(("dst_number", "src_number"))
            params[name] = written(source, params.get(name) or source.pick(NUMBERS))
        return params, is_usual(account)

    def _identify_message(self, draft: Draft) -> None:
        """Set the id of a message."""
        source = self._source
        self._number += 1
        draft.message_id = self._number
        if source.chance(5):
            draft.message_id = source.pick((*IDS, *TEXT_IDS, None, 1.5, ...))
            draft.plain &= isinstance(draft.message_id, int)
        elif source.chance(25):
            draft.message_id = f"{self._number}"

    def _spoil(self, draft: Draft) -> None:
        """Make a message odd in one way."""
        source, chance = self._source, self._chance
        draft.plain, draft.fresh = False, None
        params = draft.params
        if isinstance(params, dict):
            name = source.pick((*UNUSABLE, *params)) if params else source.pick(tuple(UNUSABLE))
            match source.count(0, 9):
                case 0 | 1 | 2 | 3:
                    params[name] = source.pick(UNUSABLE.get(name, (None,)))
                case 4:
                    params[name] = any_value(chance)
                case 5:
                    extra = "x" * 5000 if source.chance(35) else any_value(chance)
                    params[source.pick(("colour", "Call_id", "", "version"))] = extra
                case 6:
                    params[name] = None
                case 7:
                    draft.more[source.pick(("x", "result", "error", "Method"))] = any_value(chance)
                case 8:
                    draft.params = dict(reversed(params.items()))
                case _:
                    self._misuse(draft)
        else:
            self._misuse(draft)

    def _misuse(self, draft: Draft) -> None:
        """Make the members of a message wrong."""
        source = self._source
        match source.count(0, 5):
            case 0:
                draft.method = source.pick(("nothing", "Authorize", "", None, 5, ..., "авторизация"))
            case 1:
                draft.more["jsonrpc"] = source.pick(("1.0", 2, None, ...))
            case 2:
                draft.message_id = source.pick(([], {}, True, "x" * 5000, 1.5, 10**30))
            case 3:
                draft.params = source.pick(([], [1], "x", 5, None, ...))
            case 4:
                draft.more = {"id": draft.message_id, "result": {"accepted": True}, "method": ...}
            case _:
                draft.message_id = ...


def plain_params(source: Seeded, case: Case, account: Account) -> dict[str, Any]:
    """Return the fields of a call of an account as most switches send them."""
    params: dict[str, Any] = {}
    outward = account.term_enabled and (not account.orig_enabled or source.chance(35))
    dialled = (account.tech_prefix or "") + source.pick(NUMBERS)
    if outward:
        params["direction"] = "termination"
        if source.chance(100 if account.tech_prefix and account.ident_by is IdentBy.ANI else 85):
            return params | {"account_id": account.id, "dst_number": source.pick(NUMBERS)}
    own = source.pick(account.ident)
    src_number = source.pick(NUMBERS) if source.chance(70) else None
    if account.ident_by is IdentBy.IP:
        params["src_ip"] = source.pick(INSIDE[own])
    elif account.ident_by is IdentBy.NAME:
        params["name"] = own
        if account.password is not None and source.chance(85):
            params["password"] = account.password
    elif outward:
        dialled = own
    else:
        src_number = own
    if account.src_policy is not SrcPolicy.ALLOW_ANY and account.ident_by is not IdentBy.ANI and source.chance(75):
        dids = [did.number for did in case.rows.dids if did.account_id == account.id]
        src_number = source.pick(dids or DIDS)
    if src_number is not None:
        params["src_number"] = src_number
    params["dst_number"] = dialled
    if account.gateways and source.chance(98):
        params["gateway"] = source.pick(account.gateways)
    elif source.chance(25):
        params["gateway"] = source.pick(GATEWAYS)
    if (port := account.term_port if source.chance(98) else maybe(source, 50, PORTS)) is not None:
        params["src_port"] = port
    if (protocol := account.term_protocol if source.chance(98) else maybe(source, 50, PROTOCOLS)) is not None:
        params["protocol"] = protocol
    return params


def _as_request(params: dict[str, Any]) -> Request | None:
    """Return the parameters as the engine reads them."""
    try:
        return msgspec.convert(params, Request)
    except msgspec.ValidationError:
        return None
