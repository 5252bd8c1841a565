"""The state of the batch that is being answered, which the handlers of its messages share."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from identengine.calls.backend import Settings
from identengine.calls.leg import Leg


@dataclass(slots=True)
class Batch:
    """A batch: its time, the leases that begin at this time, and the legs that it admitted."""

    reserved: float
    """Duration of a reserved lease, in seconds."""
    active: float
    """Duration of an active lease that no interval sets, in seconds."""
    now: float = 0.0
    reserved_until: float = 0.0
    """End of the lease of a leg that is reserved now. All legs of a batch share the object."""
    active_until: float = 0.0
    """End of the lease of a leg that is started now."""
    admitted: list[Leg] = field(default_factory=list)
    """The legs that the batch admitted, also those that are gone again."""
    busy: bool = False
    """True while a message changes the set. If it is true after a fault, a change may be incomplete."""
    freeing: dict[str, float] = field(default_factory=dict)
    """The switches whose older legs are being freed in steps, with the times of their messages."""
    newest: Leg | None = None
    """The leg that the current message admitted, or None. Each message clears it first."""

    def is_older(self, leg: Leg) -> bool:
        """Return True if the switch of a leg went up or down later, and its legs are still being freed."""
        return bool(self.freeing) and leg.since <= self.freeing.get(leg.switch, -inf)

    def hand_over(self, leg: Leg, switch: str) -> None:
        """Note that a switch reports a leg now. The leg must be in a fresh row.

        If the switch's older legs are being freed, the leg is younger than these: it counts from now on.
        """
        leg.switch = switch
        if self.is_older(leg):
            leg.since = self.now

    @classmethod
    def of(cls, settings: Settings) -> Batch:
        """Return a batch with the leases of these settings."""
        return cls(settings.reserved, settings.active)
