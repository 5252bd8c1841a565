"""Requests to the engine and its answers, as every interface hands them over (engine.md 6)."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import msgspec

from identengine.calls.backend import Deferred, EncodedDecision, LegResult
from identengine.engine.lifecycle import Asker, BadParameter
from identengine.identify.explain import Explanation
from identengine.identify.template import Form, packed
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Reason
from identengine.model.records import CallList, Decision, Request

Method = Literal["authorize", "identify", "explain", "start", "update", "stop", "sync", "switch_up", "switch_down"]

EngineAnswer: TypeAlias = Decision | EncodedDecision | Explanation | LegResult | Deferred | BadParameter
"""A decision or an explanation. For a life-cycle method: its result, now or later, or the wrong parameter."""


class EngineRequest(msgspec.Struct, frozen=True, gc=False):
    """A request of a switch, with the options of that switch."""

    method: Method
    request: Request | CallList
    """The parameters: a CallRequest for ``start``, ``update`` and ``stop``, a CallList for ``sync``."""
    options: IdentifyOptions
    asker: Asker = Asker("", "")
    form: Form = packed
    """The form in which an accepted call is answered."""


class RolledBack(NamedTuple):
    """Calls that were accepted, but that the set of calls could not keep."""

    reason: Reason
    """The reason of their rejects."""
    legs: frozenset[tuple[str, str]]
    """The keys of each call and leg (:mod:`identengine.calls.legs`)."""
