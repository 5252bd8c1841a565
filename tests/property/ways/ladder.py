"""The functions that the suite has to exercise completely. Update this list when such a function moves."""

from __future__ import annotations

ENTRIES: tuple[str, ...] = ()
"""The functions of the usual way, one for each method. Each returns None if the general way has to decide."""

STEPS: tuple[str, ...] = ()
"""The further functions of the usual way. The streams have to reach each of their ``return`` statements too."""

GENERAL = (
    "identengine.engine.core:Engine._authorize",
    "identengine.engine.lifecycle:levels_then",
    "identengine.engine.lifecycle:refresh",
    "identengine.engine.lifecycle:sync_part",
    "identengine.engine.lifecycle:_selector",
    "identengine.calls.memory:Calls._admit",
    "identengine.calls.memory:Calls._admit_again",
    "identengine.calls.memory:Calls._refresh",
    "identengine.calls.memory:Calls._stop",
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
