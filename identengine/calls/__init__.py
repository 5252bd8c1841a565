"""The set of calls: which legs hold slots (engine.md 5).

The interface is :mod:`~identengine.calls.backend`, with :mod:`~identengine.calls.levels` (where a leg counts) and
:mod:`~identengine.calls.legs` (how a leg is named). :mod:`~identengine.calls.memory` is the set in memory, and
:mod:`~identengine.calls.journal` is its mirror in LMDB. Rule: the interface shows nothing of how legs are kept.

:data:`TRANSITIONS` is the life of one leg: what each event makes of it, by the state that it is in. The first word
of a cell is the state afterwards; ``none`` means that the leg is neither held nor remembered. ``-`` means that the
event does not exist in this state. The other words of a cell:

- ``+1``, ``-1``: all levels of the leg count one leg more, or one less. Without, the counters stay.
- ``new``: the time of the state begins: the reserved lease, the active lease, or the 24 h of a lapsed leg
  (engine.md 5.4, 5.5). Without, a time that runs goes on.
- ``refused``: the authorization is rejected.
- ``unknown``: the answer says ``unknown: true``.
- ``missing``: the answer counts the leg as ``missing``.

The words of an event:

- ``other``: the content differs from that of the authorization that reserved the leg.
- ``full``: a limit of the leg is reached. The content of an ``authorize`` differs too. A ``start`` or ``update``
  that counts the leg all the same is answered with ``overcommit: true``.
- ``fields``: the message carries the fields of ``authorize`` and they identify an account.
- ``late``: the leg was stopped less than 60 s ago, before it came into its state.
- ``lists``, ``lacks``: a complete list of a switch names the leg, or a list of the leg's switch does not.
- ``twice``: two lists in a row lack the leg, and it is older than the grace time. ``grace``: it is not older.
  ``update``: it is older, and an ``update`` without fields comes between the lists.
- ``again``: the switch said it less than 10 s ago too.
- ``max 0``: ``lapsed_max`` is 0.

A leg belongs to the switch that last authorized, started, updated or listed it (engine.md 5.6). A refused
authorization does not change that. Lists and ``switch_up`` or ``switch_down`` of another switch never free it.
"""

from __future__ import annotations

from typing import Final

STATES: Final = ("none", "reserved", "active", "lapsed")
"""The columns of :data:`TRANSITIONS`, before the clauses."""

# A table is read by its columns:
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
    "sync lacks":         ("none",            "reserved",         "active",         "lapsed",          "5.6"),
    "sync lacks twice":   ("none",            "reserved",         "none -1",        "lapsed",          "5.6"),
    "sync lacks, grace":  ("none",            "reserved",         "active",         "lapsed",          "5.6"),
    "sync lacks, update": ("none",            "active new",       "active new",     "active +1 new",   "5.6"),
    "switch_up/down":     ("none",            "none -1",          "none -1",        "none",            "5.6"),
    "switch_up again":    ("none",            "reserved",         "active",         "lapsed",          "5.6"),
    "time ends":          ("-",               "lapsed -1 new",    "lapsed -1 new",  "none",            "5.4, 5.5"),
    "time ends, max 0":   ("-",               "none -1",          "none -1",        "-",               "5.4"),
}
# fmt: on
"""The life of a leg; tests/unit/calls/test_legs_life.py holds each cell against each backend."""
