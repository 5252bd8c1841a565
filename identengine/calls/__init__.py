"""The set of calls: the legs that hold slots (engine.md 5).

:mod:`~identengine.calls.backend` is the interface. :mod:`~identengine.calls.levels` defines the counters of a leg,
and :mod:`~identengine.calls.legs` the keys of a leg. :mod:`~identengine.calls.memory` keeps the set in memory, and
:mod:`~identengine.calls.journal` keeps its mirror in LMDB. Rule: the interface does not show how legs are kept.

:data:`TRANSITIONS` is the life of one leg. A row is an event, and a column is the state of the leg before it. The
first word of a cell is the state afterwards: ``none`` if the leg is neither held nor remembered, ``-`` if the
event cannot occur in this state. Further words of a cell:

- ``+1``, ``-1``: all levels of the leg count one leg more or less. Otherwise the counters do not change.
- ``new``: the time of the state starts again: the reserved lease, the active lease, or the 24 h of a lapsed leg
  (engine.md 5.4, 5.5). Otherwise the time that remains does not change.
- ``refused``: the authorization is rejected.
- ``unknown``: the answer contains ``unknown: true``.
- ``missing``: the answer counts the leg as ``missing``.

The words of an event:

- ``other``: the content differs from that of the authorization that reserved the leg.
- ``full``: a limit of the leg is reached. The content of an ``authorize`` differs too. If a ``start`` or
  ``update`` counts the leg nevertheless, the answer contains ``overcommit: true``.
- ``fields``: the message carries the fields of ``authorize``, and they identify an account.
- ``late``: the leg was stopped less than 60 s ago, before it entered its state.
- ``lists``: a complete list of a switch names the leg. ``omits``: a complete list of the leg's switch does not.
- ``twice``: two lists in a row omit the leg, and it is older than the grace time. With ``grace`` it is not older.
  With ``update`` it is older, and an ``update`` without fields arrives between the lists.
- ``again``: the switch sent the same message less than 10 s ago.
- ``max 0``: ``lapsed_max`` is 0.

A leg belongs to the switch that last authorized, started, updated or listed it (engine.md 5.6). A refused
authorization does not change the owner. Lists, ``switch_up`` and ``switch_down`` of another switch never free a
leg.
"""

from __future__ import annotations

from typing import Final

STATES: Final = ("none", "reserved", "active", "lapsed")
"""The state columns of :data:`TRANSITIONS`. The last column cites the clauses."""

# Hand-aligned, since the table is read by its columns:
# fmt: off
TRANSITIONS: Final = {
    # event               none               reserved            active            lapsed             engine.md
    "authorize":          ("reserved +1 new", "reserved",         "active refused", "reserved +1 new", "5.2, 5.3"),
    "authorize other":    ("reserved +1 new", "reserved",         "active refused", "reserved +1 new", "5.2, 5.3"),
    "authorize full":     ("none refused",    "reserved refused", "active refused", "lapsed refused",  "5.2, 5.3"),
    "authorize late":     ("reserved +1 new", "reserved",         "active refused", "reserved +1 new", "5.4"),
    "start":              ("none unknown",    "active new",       "active",         "active +1 new",   "5.4"),
    "start fields":       ("active +1 new",   "active new",       "active",         "active +1 new",   "5.4"),
    "start fields full":  ("active +1 new",   "active new",       "active",         "active +1 new",   "5.4"),
    "start fields late":  ("none unknown",    "active new",       "active",         "active +1 new",   "5.4"),
    "update":             ("none unknown",    "active new",       "active new",     "active +1 new",   "5.4"),
    "update fields":      ("active +1 new",   "active new",       "active new",     "active +1 new",   "5.4"),
    "update fields full": ("active +1 new",   "active new",       "active new",     "active +1 new",   "5.4"),
    "update fields late": ("none unknown",    "active new",       "active new",     "active +1 new",   "5.4"),
    "stop":               ("none unknown",    "none -1",          "none -1",        "none",            "5.4"),
    "sync lists":         ("none missing",    "reserved new",     "active new",     "active +1 new",   "5.6"),
    "sync omits":         ("none",            "reserved",         "active",         "lapsed",          "5.6"),
    "sync omits twice":   ("none",            "reserved",         "none -1",        "lapsed",          "5.6"),
    "sync omits, grace":  ("none",            "reserved",         "active",         "lapsed",          "5.6"),
    "sync omits, update": ("none",            "active new",       "active new",     "active +1 new",   "5.6"),
    "switch_up/down":     ("none",            "none -1",          "none -1",        "none",            "5.6"),
    "switch_up again":    ("none",            "reserved",         "active",         "lapsed",          "5.6"),
    "time ends":          ("-",               "lapsed -1 new",    "lapsed -1 new",  "none",            "5.4, 5.5"),
    "time ends, max 0":   ("-",               "none -1",          "none -1",        "-",               "5.4"),
}
# fmt: on
"""The life of a leg. tests/unit/calls/test_legs_life.py checks each cell against each backend."""
