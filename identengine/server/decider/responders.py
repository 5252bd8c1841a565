"""The responders of a decider, one for each protocol, and the log and the counts of their reports."""

from __future__ import annotations

import time
from collections.abc import Callable

from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker, BadParameter
from identengine.errors import quoted
from identengine.log.rejects import RejectLog
from identengine.model.records import Decision, Request
from identengine.server.decider.waits import in_a_second
from identengine.stats.tally import Tally
from identengine.wire.batches import EngineBatches
from identengine.wire.codes import BAD_PARAMS
from identengine.wire.jsonrpc.responder import Responder
from identengine.wire.radius.packet import MEANINGS
from identengine.wire.radius.responder import DroppedPacket, RadiusResponder, Reports
from identengine.wire.resp.responder import Reports as RespReports
from identengine.wire.resp.responder import RespResponder
from identengine.wire.responder import MalformedMessage


class Responders:
    """The responders of all protocols, which share the batches of one engine.

    ``clock`` returns the time of the set of calls, and ``tally`` the counters. Both are called only for messages.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float], tally: Callable[[], Tally]) -> None:
        self._tally = tally
        self._began = time.monotonic()
        # Several logs, so that a flood of one kind leaves the lines of the others.
        self._rejects, self.refused, self._malformed, self._withheld, self._radius = (
            RejectLog(in_a_second) for _ in range(5)
        )
        self.batches = EngineBatches(engine, self._uptime, clock, self._on_decided)
        self.jsonrpc = Responder(
            engine,
            self._uptime,
            self._on_reject,
            on_wrong_token=self._on_wrong_token,
            on_too_old=self._on_too_old,
            on_malformed=self._on_malformed,
            on_withheld=self._on_withheld,
            batches=self.batches,
        )
        reports = Reports(
            rejected=self._on_reject,
            too_old=self._on_too_old,
            dropped=self._on_dropped_packet,
            bad_parameter=self._on_bad_parameter,
            duplicate=self._on_duplicate,
        )
        self.radius = RadiusResponder(engine, self.batches, self._uptime, reports)
        resp = RespReports(self._on_reject, self._on_wrong_token, self._on_malformed)
        self.resp = RespResponder(engine, self.batches, self._uptime, resp)

    def write(self) -> None:
        """Write the lines of all logs."""
        for log in (self._rejects, self.refused, self._malformed, self._withheld, self._radius):
            log.write()

    def _uptime(self) -> float:
        return time.monotonic() - self._began

    def _on_decided(self, seconds: float, messages: int) -> None:
        self._tally().decided(seconds, messages)

    def _on_too_old(self) -> None:
        self._tally().add("datagrams_dropped_too_old")

    def _on_wrong_token(self, host: str) -> None:
        self._tally().add("wrong_tokens")
        self.refused.note(host, "wrong token")

    def _on_reject(self, asker: Asker, request: Request, decision: Decision) -> None:
        self._rejects.reject(asker.switch, request, decision)

    def _on_malformed(self, message: MalformedMessage) -> None:
        self._tally().malformed(message.switch, message.code)
        self._malformed.malformed(*message)

    def _on_withheld(self, host: str) -> None:
        self._tally().add("answers_withheld")
        self._withheld.withheld(host)

    def _on_dropped_packet(self, packet: DroppedPacket) -> None:
        self._tally().add(f"radius_dropped_{packet.cause}")
        self._radius.radius_dropped(*packet, MEANINGS[packet.cause])

    def _on_bad_parameter(self, asker: Asker, wrong: BadParameter) -> None:
        value = None if wrong.value is None else quoted(wrong.value)
        self._on_malformed(MalformedMessage(asker.switch, None, BAD_PARAMS, wrong.message, wrong.field, value))

    def _on_duplicate(self) -> None:
        self._tally().add("radius_duplicates")
