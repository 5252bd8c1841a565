"""The state of the batch that is being answered, which the handlers of its messages share."""

from __future__ import annotations

from dataclasses import dataclass, field

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
    newest: Leg | None = None
    """The leg that the current message admitted, or None. Each message clears it first."""

    @classmethod
    def of(cls, settings: Settings) -> Batch:
        """Return a batch with the leases of these settings."""
        return cls(settings.reserved, settings.active)
