"""A slow model of engine.md 5: a dict of legs that is counted again for each question."""

from __future__ import annotations

from dataclasses import dataclass, field

from identengine.calls.backend import LegSelector, Settings
from identengine.calls.levels import Levels, client_of, clients_of

RESERVED, ACTIVE, LAPSED = "reserved", "active", "lapsed"


@dataclass
class Held:
    state: str
    levels: Levels
    switch: str
    since: float
    due: float
    lease: float
    content: bytes | None = None
    number: int = 0
    """Number of the authorization that decided the leg."""
    missed: str | None = None


@dataclass
class Model:
    settings: Settings
    legs: dict[tuple[str, str], Held] = field(default_factory=dict)
    stops: list[tuple[str, str | None, str | None, float]] = field(default_factory=list)
    tokens: dict[tuple[str, int], tuple[float, float]] = field(default_factory=dict)
    missed_by: dict[str, set[str]] = field(default_factory=dict)
    switched: dict[str, float] = field(default_factory=dict)

    def held(self) -> dict[tuple[str, str], Held]:
        return {key: leg for key, leg in self.legs.items() if leg.state != LAPSED}

    def count(self, client: int | None, account: int | None, initial: str | None) -> int:
        return sum(
            (account is None or leg.levels.account_id == account)
            and (client is None or client in clients_of(leg.levels.client.counters))
            and (initial is None or key[1][0] == initial)
            for key, leg in self.held().items()
        )

    def excess(self, levels: Levels, initial: str, most_over: int) -> str | None:
        """Return the nearest level that exceeds its limit by at least ``most_over``."""
        if (
            levels.capacity is not None
            and self.count(None, levels.account_id, initial) >= levels.capacity + most_over
        ):
            return "account_capacity"
        for place, limit, reason in levels.client.limits:
            client, direction = client_of(levels.client.counters[place - 1])
            if self.count(client, None, None if direction is None else initial) >= limit + most_over:
                return reason
        most = self.settings.global_capacity
        return "global_capacity" if most is not None and len(self.held()) >= most + most_over else None

    def lapse(self, now: float) -> None:
        for key, leg in list(self.legs.items()):
            if leg.state != LAPSED and int(leg.due * 4) + 1 <= now * 4:
                leg.state, leg.due, leg.content = LAPSED, now + 24 * 3600, None
            elif leg.state == LAPSED and int(leg.due * 4) + 1 <= now * 4:
                del self.legs[key]
        self.stops = [stop for stop in self.stops if stop[3] > now]

    def token(self, kind: str, key: int, rate: float | None, now: float) -> float:
        if rate is None:
            return 1.0
        if rate == 0:
            return 0.0
        most = max(1.0, rate * self.settings.cps_burst)
        tokens, at = self.tokens.get((kind, key), (most, now))
        return min(most, tokens + (now - at) * rate)

    def take_tokens(self, levels: Levels, now: float) -> None:
        for kind, key, rate in (
            ("account", levels.account_id, levels.cps),
            ("client", levels.client.counters[0], levels.client.cps),
        ):
            if rate is not None:
                self.tokens[kind, key] = (self.token(kind, key, rate, now) - 1, now)

    def admit(
        self, call: str | None, leg: str, switch: str, content: bytes, levels: Levels, number: int, now: float
    ) -> str | int:
        """Return the number of the authorization whose answer is repeated, or the reason of a reject."""
        old = self.legs.get((call, leg)) if call is not None else None
        if old is not None and old.state == ACTIVE:
            return "invalid_request"
        if old is not None and old.state == RESERVED and old.content == content:
            old.switch = switch
            return old.number
        reserved = old if old is not None and old.state == RESERVED else None
        if reserved is not None:
            assert call is not None
            del self.legs[call, leg]
        refusal = None
        if leg[0] == "o" and (
            self.token("account", levels.account_id, levels.cps, now) < 1 - 1e-6
            or self.token("client", levels.client.counters[0], levels.client.cps, now) < 1 - 1e-6
        ):
            refusal = "cps_exceeded"
        refusal = refusal or self.excess(levels, leg[0], 0)
        if refusal is None and call is not None and len(self.held()) >= self.settings.max_legs:
            refusal = "overload"
        if refusal is not None:
            if reserved is not None:
                assert call is not None
                self.legs[call, leg] = reserved
            return refusal
        if leg[0] == "o":
            self.take_tokens(levels, now)
        if call is not None:
            since = reserved.since if reserved else now
            due = reserved.due if reserved else now + self.settings.reserved
            lease = reserved.lease if reserved else self.settings.active
            self.legs[call, leg] = Held(RESERVED, levels, switch, since, due, lease, content, number)
        return number

    def named(self, named: LegSelector) -> dict[str, Held]:
        return {
            leg: held
            for (call, leg), held in self.legs.items()
            if call == named.call
            and (named.direction is None or named.direction[0] == leg[0])
            and (named.leg_id is None or named.leg_id == leg[1:])
        }

    def progress(
        self,
        method: str,
        named: LegSelector,
        switch: str,
        interval: float | None,
        levels: Levels | None,
        now: float,
    ) -> tuple[bool, bool]:
        """Return whether the call is unknown, and whether a limit is exceeded."""
        there = self.named(named)
        held = [leg for leg in there.values() if leg.state != LAPSED]
        for leg in held or there.values():
            leg.switch, leg.missed = switch, None
            leg.lease = 3 * interval if interval else leg.lease
            if leg.state != ACTIVE or method == "update":
                leg.state, leg.due, leg.content = ACTIVE, now + leg.lease, None
        if held:
            return False, False
        if there:
            return False, any(self.excess(leg.levels, key[0], 1) for key, leg in there.items())
        late = any(
            call == named.call
            and (direction is None or named.direction is None or direction == named.direction)
            and (leg_id is None or named.leg_id is None or leg_id == named.leg_id)
            for call, direction, leg_id, _ in self.stops
        )
        if late or levels is None or len(self.held()) >= self.settings.max_legs:
            return True, False
        key = ("t" if named.direction == "termination" else "o") + (named.leg_id or "")
        lease = 3 * interval if interval else self.settings.active
        self.legs[named.call, key] = Held(ACTIVE, levels, switch, now, now + lease, lease)
        return False, self.excess(levels, key[0], 1) is not None

    def stop(self, named: LegSelector, now: float) -> tuple[bool, int]:
        """Return whether the call is unknown, and how many slots were freed."""
        there = self.named(named)
        for key in there:
            del self.legs[named.call, key]
        self.stops.append((named.call, named.direction, named.leg_id, now + 60))
        return not there, sum(leg.state != LAPSED for leg in there.values())

    def switch_gone(self, switch: str, now: float) -> int:
        last = self.switched.get(switch)
        if last is not None and now - last < 10:
            return 0
        self.switched[switch] = now
        self.missed_by.pop(switch, None)  # its next lists may have the same ids
        gone = [key for key, leg in self.legs.items() if leg.switch == switch]
        freed = sum(self.legs[key].state != LAPSED for key in gone)
        for key in gone:
            del self.legs[key]
        return freed

    def list_came(self, switch: str, list_id: str, calls: list[LegSelector], now: float) -> tuple[int, int, bool]:
        """Return the listed calls that are missing, the slots that were freed, and True for a repeated id."""
        missing = sum(not self.named(named) for named in calls)
        if list_id in self.missed_by.setdefault(switch, set()):
            return missing, 0, True
        self.missed_by[switch].add(list_id)
        seen = set()
        for named in calls:
            there = self.named(named)
            held = {key: leg for key, leg in there.items() if leg.state != LAPSED}
            for key, leg in (held or there).items():
                seen.add((named.call, key))
                leg.switch, leg.missed = switch, None
                if leg.state == RESERVED:
                    leg.due = now + self.settings.reserved
                else:
                    leg.state, leg.due = ACTIVE, now + leg.lease
        freed = 0
        for place, leg in list(self.legs.items()):
            if leg.switch != switch or leg.state != ACTIVE or place in seen:
                continue
            if leg.missed is None:
                leg.missed = list_id
            elif leg.missed != list_id and now - leg.since > self.settings.grace:
                del self.legs[place]
                freed += 1
        return missing, freed, False
