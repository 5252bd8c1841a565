"""The functions that the suite has to exercise completely. Update this list when such a function moves."""

from __future__ import annotations

_USUAL = "identengine.engine.usual:"
ENTRIES = tuple(f"{_USUAL}Usual.{name}" for name in ("authorize", "start", "update", "stop"))
"""The functions of the usual way, one for each method. Each returns None if the general way has to decide."""

STEPS = (
    *(
        f"{_USUAL}Usual.{name}"
        for name in (
            "_again",
            "_identify",
            "_unidentified",
            "_ranked",
            "_check",
            "_shown",
            "_caller",
            "_terminate",
            "_refresh",
            "_stop_leg",
        )
    ),
    *(f"identengine.engine.named:{name}" for name in ("leg_of", "named_legs", "whole_call")),
    "identengine.calls.admission:Admission.admissible",
    "identengine.calls.progress:Progress.stop_call",
    "identengine.calls.progress:Progress.stop_leg",
    "identengine.calls.progress:Progress.refresh_call",
)
"""The further functions of the usual way. The streams have to reach each of their ``return`` statements too."""

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
    "identengine.wire.jsonrpc.reader:Reader._read_array",
    "identengine.wire.jsonrpc.reader:Reader.read_call",
    "identengine.wire.desk:Desk.decide",
)
"""Functions of the general way that decide. The streams have to reach each of their ``return`` statements."""

UNREACHED = frozenset(
    (
        # The engine asks for an earlier answer itself, and sends only calls that it has identified.
        "Admission.admit: if earlier is not None: "
        "return earlier if type(earlier) is Refused else in_parts(earlier)",
        "Admission.admit: if levels is None: return decision",
        "Admission._admit_again: if levels is None: return decision",
        # Only faults reach these statements.
        "Reader.read: except Exception: return self._failed(fault, None, codec, session.peer, session, batch)",
        "Reader.read_call: except Exception: return self._failed(fault, message_id, codec, peer, session, batch)",
        # The engine asks only for accounts with another policy.
        "shown_number: if account.src_policy is _ALLOW_ANY: return (src_number, False)",
    )
)
"""Statements that no message reaches, as ``function: condition: statement``."""
