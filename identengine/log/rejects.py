"""The log of rejected calls, refused peers and malformed messages: one counted line a second for each source.

Rule: lines and memory are bounded, even under forged sources (engine.md 7). Beyond :data:`SOURCES` lines in one
second, all further sources share one line for each reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from identengine.log.event import Event, Field
from identengine.log.events import (
    MALFORMED,
    MALFORMED_OF_SWITCH,
    MALFORMED_OTHERS,
    MALFORMED_STRANGER,
    RADIUS_DROPPED,
    RADIUS_DROPPED_OTHERS,
    REFUSED,
    REFUSED_CERTIFICATE,
    REJECTED,
    REJECTED_ACCOUNT,
    REJECTED_FIELD,
    REJECTED_FIELD_ABSENT,
    REJECTED_OTHERS,
    WITHHELD,
)
from identengine.model.addresses import normal_address
from identengine.model.numbers import requested_number
from identengine.model.records import Decision, Request

SOURCES = 100
"""Maximum number of lines in one second that name a source. Requests wait while they are written."""
_LONGEST = 64
"""Longest text of a peer that a line shows, in characters."""
_NAMES = 3
"""Number of names in a certificate that a line shows."""
_LONGEST_PROBLEM = 200
"""Longest message of an error that a line shows, in characters."""
_REMEMBERED = 1000
"""Size of the cache of normal forms of addresses, in entries. Each write of the lines empties it."""


class RejectLog:
    """A log that counts for a second, then writes its lines.

    ``in_a_second`` schedules a call of the given function in one second.
    """

    def __init__(self, in_a_second: Callable[[Callable[[], None]], object]) -> None:
        self._in_a_second = in_a_second
        self._lines: dict[tuple[str | None, ...], _Line] = {}
        self._others: dict[tuple[Event, Field], _Line] = {}
        self._addresses: dict[str, str] = {}

    def note(self, host: str, why: str, names: Sequence[str] = (), count: int = 1) -> None:
        """Count one refused peer, or ``count`` messages from it.

        The line has the names in the certificate of the first such peer.
        """
        source = self._address(host)
        if self._repeats(source, why, count=count):
            return
        event = REFUSED
        fields: dict[str, Field] = {"reason": why, "source": source}
        if names:
            event = REFUSED_CERTIFICATE
            more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
            fields["names"] = ", ".join(name[:_LONGEST] for name in names[:_NAMES]) + more
        self._begin((source, why), event, fields, REJECTED_OTHERS, "reason", count)

    def reject(self, switch: str, request: Request, decision: Decision) -> None:
        """Count one rejected call. The line names the account, or the field and value, of the first such call.

        For a wrong password neither the line nor the answer names an account (D3 in decisions.md). The name alone
        proves nothing, and a reader of the log could pass the account on to the caller.
        """
        source, reason = self._source(request), decision.reason or ""
        if self._repeats(source, reason, switch):
            return
        event = REJECTED
        fields: dict[str, Field] = {"reason": reason, "source": source, "switch": switch}
        more: dict[str, Field] = {}
        if decision.account_id is not None:
            event = REJECTED_ACCOUNT
            more = {"account_id": decision.account_id, "account_name": (decision.account_name or "")[:_LONGEST]}
        elif decision.field is not None and decision.value is None:
            event, more = REJECTED_FIELD_ABSENT, {"field": decision.field}
        elif decision.field is not None:
            event, more = REJECTED_FIELD, {"field": decision.field, "value": (decision.value or "")[:_LONGEST]}
        self._begin((source, reason, switch), event, fields | more, REJECTED_OTHERS, "reason")

    def malformed(
        self,
        switch: str | None,
        host: str | None,
        code: int,
        problem: str,
        field: str | None = None,
        value: str | None = None,
    ) -> None:
        """Count one malformed message, in the line of its switch, or of its host if the switch is unknown.

        ``problem`` is the message of the error, without secrets. ``value`` is the value of ``field`` as JSON.
        """
        source = None if host is None else self._address(host)
        key = (switch,) if switch is not None else (None, source)
        if self._repeats(*key):
            return
        fields: dict[str, Field] = {
            "switch": switch,
            "source": source,
            "code": code,
            "field": field,
            "value": None if value is None else value[:_LONGEST],
            "problem": problem[:_LONGEST_PROBLEM],
        }
        event = MALFORMED_STRANGER if switch is None else MALFORMED_OF_SWITCH if source is None else MALFORMED
        self._begin(key, event, fields, MALFORMED_OTHERS, "code")

    def radius_dropped(self, switches: Sequence[str], host: str, cause: str, meaning: str) -> None:
        """Count one RADIUS packet without a reply, in the line of its source and cause.

        ``switches`` are those at the address. ``meaning`` explains the cause.
        """
        source = self._address(host)
        if not self._repeats(source, cause):
            names = " or ".join(switches[:_NAMES])
            fields: dict[str, Field] = {"source": source, "switch": names, "cause": cause, "meaning": meaning}
            self._begin((source, cause), RADIUS_DROPPED, fields, RADIUS_DROPPED_OTHERS, "cause")

    def withheld(self, host: str) -> None:
        """Count one error that was not sent, in one line for all hosts: their addresses may be forged."""
        if not self._repeats("withheld"):
            self._begin(("withheld",), WITHHELD, {"source": self._address(host)}, WITHHELD, "source")

    def write(self) -> None:
        """Write the collected lines."""
        for line in (*self._lines.values(), *self._others.values()):
            line.event.tell(**line.fields, count=line.count)
        self._lines.clear()
        self._others.clear()
        self._addresses.clear()

    def _repeats(self, *key: str | None, count: int = 1) -> bool:
        """Count into the line of a key. Return False if the key has no line yet."""
        line = self._lines.get(key)
        if line is None:
            return False
        line.count += count
        return True

    def _begin(
        self,
        key: tuple[str | None, ...],
        event: Event,
        fields: dict[str, Field],
        others: Event,
        kind: str,
        count: int = 1,
    ) -> None:
        """Begin a line, or count into the shared line of ``fields[kind]`` if there are SOURCES lines already."""
        if not self._lines:
            self._in_a_second(self.write)
        if len(self._lines) < SOURCES:
            self._lines[key] = _Line(event, fields, count)
            return
        reason = fields[kind]
        line = self._others.get((others, reason))
        if line is None:
            line = self._others[others, reason] = _Line(others, {kind: reason}, 0)
        line.count += count

    def _source(self, request: Request) -> str:
        """Return the source of a call.

        All spellings of an address, name or number are one source (engine.md 2).
        """
        if request.src_ip and not request.src_ip.isspace():
            return self._address(request.src_ip)
        digest = request.digest
        name = (request.name or "").strip() or ((digest and digest.username) or "").strip()
        if name or not request.src_number:
            return name[:_LONGEST]
        try:
            return requested_number(request.src_number)[:_LONGEST]
        except ValueError:
            return request.src_number[:_LONGEST]

    def _address(self, text: str) -> str:
        """Return the normal form of an address. Return the beginning of any other text."""
        found = self._addresses.get(text)
        if found is None:
            found = normal_address(text) or text[:_LONGEST]
            if len(self._addresses) < _REMEMBERED and len(text) <= _LONGEST:
                self._addresses[text] = found
        return found


class _Line:
    """A line to write: its event, the fields of the first occurrence, and the number of occurrences."""

    __slots__ = ("count", "event", "fields")

    def __init__(self, event: Event, fields: dict[str, Field], count: int) -> None:
        self.event = event
        self.fields = fields
        self.count = count
