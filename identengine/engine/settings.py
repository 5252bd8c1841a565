"""The settings of the engine: one frozen object that is replaced between two batches."""

from __future__ import annotations

import msgspec

from identengine.errors import KeyFileError
from identengine.identify.explain import CandidateLimits
from identengine.model.reasons import ReasonTable
from identengine.store.vault import Vault


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the configuration that decisions depend on, and the key of the book's passwords.

    The options of identification are not among them. Each switch has its own options, so they come with each
    request (:attr:`identengine.engine.core.EngineRequest.options`).
    """

    reasons: ReasonTable = msgspec.field(default_factory=ReasonTable)
    """The codes of each reason of a reject (engine.md 7)."""
    vault: Vault | None = None
    """The keys that decrypt the passwords of the book (engine.md 1.7); None if there is no key."""
    lease: int = 200
    """Seconds for which a slot is reserved, as the answer states it (engine.md 5.5)."""
    require_call_id: bool = False
    """True if an ``authorize`` without call id is an ``invalid_request`` (engine.md 5.10)."""
    explains: CandidateLimits = CandidateLimits()
    """The numbers of candidates that ``explain`` examines and shows."""

    def reveal(self, token: str) -> str:
        """Return the password of an ``enc:…`` token in clear. Raise KeyFileError if there is no key."""
        if self.vault is None:
            raise KeyFileError("the book holds passwords, but no key is configured to decrypt them")
        return self.vault.reveal(token)
