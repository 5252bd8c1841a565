"""The functions that the suite has to exercise completely. Update this list when such a function moves."""

from __future__ import annotations

USUAL: tuple[str, ...] = ()
"""The functions of the usual way. Each returns None if the general way has to decide.

The first is the entry: it is called once for each message that may be usual.
"""

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
