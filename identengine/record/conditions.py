"""The conditions on entries of the record. Most entries are excluded before they are decoded.

Rule: a condition excludes no entry that it must select. A cheap test comes first, and an exact one follows.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import msgspec

from identengine.model.addresses import normal_address
from identengine.model.numbers import requested_number
from identengine.model.records import Decision
from identengine.record.entry import Asked, Body, decision_of, encode, masked_number
from identengine.record.segments import Frame, frames, frames_with

AskedCondition = Callable[[Asked], bool]


class RecordFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions on entries. All of them must hold, and None is no condition."""

    since: float | None = None
    """Earliest time, in Unix seconds."""
    until: float | None = None
    """Time before which an entry must be, in Unix seconds."""
    accepted: bool | None = None
    account_id: int | None = None
    """Account of the decision, or that a request of termination named."""
    client_id: int | None = None
    number: str | None = None
    """Caller's or dialled number, in any spelling (engine.md 2.1)."""
    address: str | None = None
    """Address of ``src_ip``, or a network that contains it."""
    switch: str | None = None
    reason: str | None = None


class Conditions:
    """The conditions of a filter, prepared. Raise ValueError for an invalid number or address."""

    def __init__(self, sought: RecordFilter) -> None:
        self._sought = sought
        self._needles = _needles(sought)
        self.asked: list[AskedCondition] = []
        """Conditions on the first fields of an entry."""
        if sought.switch is not None:
            self.asked.append(lambda asked: asked.switch == sought.switch)
        if sought.address is not None:
            self.asked.append(_address_condition(sought.address))
        if sought.number is not None:
            self.asked.append(_number_condition(sought.number))

    def select(self, raw: bytes) -> list[Frame]:
        """Return the frames of a segment that may hold a selected entry, the newest first."""
        needles = self._needles(raw)
        found = frames(raw) if needles is None else frames_with(raw, needles)
        since, until = self._sought.since, self._sought.until
        if since is not None or until is not None:
            earliest, end = since or 0.0, float("inf") if until is None else until
            found = [one for one in found if earliest <= one.at < end]
        return found[::-1]

    def hold(self, body: Body) -> bool:
        """Return True if the decision of an entry is selected."""
        sought, decision = self._sought, decision_of(body)
        return (
            (sought.accepted is None or decision.accepted is sought.accepted)
            and (sought.reason is None or decision.reason == sought.reason)
            and (sought.client_id is None or decision.client_id == sought.client_id)
            and (sought.account_id is None or _is_of(body, decision, str(sought.account_id)))
        )


def _is_of(body: Body, decision: Decision, account_id: str) -> bool:
    named = body.direction == "termination" and str(body.account_id) == account_id
    return named or str(decision.account_id) == account_id


Needles = Callable[[bytes], list[bytes] | None]
"""A function that returns texts for a segment, one of which each selected entry has, or None if it has no such."""


def _needles(sought: RecordFilter) -> Needles:
    """Return the needles that exclude the most entries."""
    texts: list[bytes] | None = None
    if (account_id := sought.account_id) is not None:
        named = [encode("termination") + encode(value) for value in (account_id, str(account_id))]
        texts = [*_member("account_id", account_id), *named]
    elif sought.number is not None:
        return _number_needles(requested_number(sought.number))
    elif sought.address is not None and (prefix := _address_prefix(sought.address)):
        texts = [prefix]
    elif sought.client_id is not None:
        texts = _member("client_id", sought.client_id)
    elif sought.reason is not None:
        texts = [encode(sought.reason)]
    elif sought.switch is not None:
        texts = [encode(sought.switch)]
    return lambda _: texts


def _member(name: str, value: int) -> list[bytes]:
    """Return a member of a decision in MessagePack and in JSON."""
    return [encode(name) + encode(value), f'"{name}":{value}'.encode()]


def _number_needles(number: str) -> Needles:
    plain, texts = number.encode(), [number.encode(), masked_number(number).encode()]

    def needles(raw: bytes) -> list[bytes] | None:
        if not number.isalnum() or b"phone-context" in raw.lower():
            return None  # escapes and contexts hide a number
        spelled = raw.translate(None, _DROPPED)
        return texts if spelled.count(plain) == raw.count(plain) else None

    return needles


_DROPPED = b" -.()"
"""Characters that the normal form of a number leaves out (engine.md 2.1)."""


def _address_prefix(text: str) -> bytes | None:
    """Return the beginning of all addresses of an IPv4 network as text, or None if they share none."""
    network = _network(text)
    whole = network.prefixlen // 8
    if network.version == 6 or not whole:
        return None
    parts = str(network.network_address).split(".")[:whole]
    return (".".join(parts) + "." * (whole < 4)).encode()


def _network(text: str) -> IPv4Network | IPv6Network:
    """Return an address or network as a network. An IPv4 address in IPv6 is IPv4."""
    address, slash, length = text.strip().partition("/")
    return ip_network(f"{normal_address(address) or address}{slash}{length}", strict=False)


def _address_condition(text: str) -> AskedCondition:
    network = _network(text)
    seen: dict[str | None, bool] = {None: False}

    def holds(asked: Asked) -> bool:
        source = asked.src_ip
        if (known := seen.get(source)) is None:
            address = normal_address(source or "")
            known = seen[source] = address is not None and ip_address(address) in network
        return known

    return holds


def _number_condition(text: str) -> AskedCondition:
    number = requested_number(text)
    sought = (number, masked_number(number))

    def is_number(asked: str | None) -> bool:
        if asked in sought:
            return True
        if asked is None or asked.isdigit():
            return False
        try:
            return requested_number(asked) in sought
        except ValueError:
            return False

    return lambda asked: is_number(asked.dst_number) or is_number(asked.src_number)
