"""The functions that the suite has to exercise completely. Update this list when such a function moves."""

from __future__ import annotations

USUAL: tuple[str, ...] = (
    "identengine.engine.usual:Usual.authorize",
    "identengine.engine.usual:Usual._again",
    "identengine.engine.usual:Usual._originator",
    "identengine.engine.usual:Usual._ranked",
    "identengine.engine.usual:Usual._shown",
    "identengine.engine.usual:Usual._caller",
    "identengine.engine.usual:Usual._terminate",
    "identengine.engine.usual:Usual.stop",
    "identengine.engine.usual:Usual.start",
    "identengine.engine.usual:Usual.update",
    "identengine.engine.usual:Usual._refresh",
    "identengine.engine.usual:_leg_key",
    "identengine.engine.usual:_whole_call",
    "identengine.calls.admission:Admission.admissible",
    "identengine.calls.progress:Progress.stop_call",
    "identengine.calls.progress:Progress.refresh_call",
)
"""The functions of the usual way. Each returns None if the general way has to decide.
"""

ENTRIES = ("authorize", "stop", "start", "update")
"""The functions of :data:`USUAL` that are called once for each message of the usual shape."""

GENERAL = (
    "identengine.engine.authorization:Authorization.decide",
    "identengine.engine.lifecycle:levels_then",
    "identengine.engine.lifecycle:refresh",
    "identengine.engine.lifecycle:sync_part",
    "identengine.engine.lifecycle:_selector",
    "identengine.calls.admission:Admission.repeated",
    "identengine.calls.admission:Admission.admit",
    "identengine.calls.admission:Admission._admit_again",
    "identengine.calls.progress:Progress.refresh",
    "identengine.calls.progress:Progress.stop",
    "identengine.identify.query:read",
    "identengine.identify.policy:shown_number",
    "identengine.wire.jsonrpc.reader:Reader.read",
    "identengine.wire.jsonrpc.reader:Reader.read_call",
)
"""Functions of the general way that decide. The streams have to reach each of their ``return`` statements."""

UNREACHED = frozenset(
    (
        # The engine asks only for accounts with another policy.
        "shown_number: if account.src_policy is _ALLOW_ANY: return (src_number, False)",
    )
)
"""Statements that no message reaches, as ``function: condition: statement``."""
