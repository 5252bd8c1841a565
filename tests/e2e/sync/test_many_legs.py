"""Many legs are freed, lapse or are compared at once, under load and over the death of a server."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest
from e2e.sync.calls import SWITCHES, B, calls, hold
from support.clocks import Clocks
from support.server import Server, serving
from support.switch import TCP, UDP, request
from support.thorough import times
from support.waiting import wait_for


class Asking:
    """A switch that sends one request after another from a thread and measures each wait."""

    def __init__(self, server: Server) -> None:
        self.answered = 0
        self.longest = 0.0
        self._end = threading.Event()
        self._switch = server.switch(address=B)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._end.is_set():
            began = time.perf_counter()
            assert self._switch.authorize(f"busy {self.answered}", "10.0.0.3")["accepted"]
            self.longest = max(self.longest, time.perf_counter() - began)
            assert self._switch.ask("stop", call_id=f"busy {self.answered}")["freed"] == 1
            self.answered += 1

    def __enter__(self) -> Asking:
        self._thread.start()
        wait_for(lambda: self.answered > 10)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._switch.close()


@pytest.mark.parametrize("way", ["tcp, half closed", "tcp, sigterm", "udp, sigterm"])
def test_a_late_answer_is_sent_during_the_drain(folder: Path, way: str) -> None:
    with serving(folder, calls(max_legs=20_100) + SWITCHES) as server, server.switch() as switch:
        hold(switch, [f"c{number}" for number in range(20_000)])
        with server.switch(UDP if way.startswith("udp") else TCP) as peer:
            peer.send(request("switch_down", 7))
            if way.endswith("sigterm"):
                assert switch.ask("ping")["pid"] == server.decider  # so that the other message has been received
                server.signal(signal.SIGTERM)
            else:
                peer.end_sending()
            assert peer.receive() == {
                "jsonrpc": "2.0",
                "id": 7,
                "result": {"ok": True, "freed": 20_000},
            }


def test_very_many_legs_are_freed_while_others_ask(folder: Path) -> None:
    count = times(100_000, 30_000)
    with serving(folder, calls(max_legs=count + 100) + SWITCHES) as server, server.switch() as switch:
        hold(switch, [f"c{number}" for number in range(count)])
        with Asking(server) as asking:
            asking.longest, before, began = 0.0, asking.answered, time.perf_counter()
            answer = switch.ask("switch_down")
            meanwhile, took = asking.answered - before, time.perf_counter() - began
        print(
            f"switch_down of {count} took {took:.2f} s; {meanwhile} others, longest {asking.longest * 1000:.1f} ms"
        )
        assert answer == {"ok": True, "freed": count}
        assert meanwhile > 20
        assert asking.longest < took / 2


def test_very_many_leases_lapse_while_others_ask(folder: Path, clocks: Clocks) -> None:
    count = times(100_000, 30_000)
    config = calls(max_legs=count + 100, active=1000) + SWITCHES
    with serving(folder, config) as server, server.switch() as switch:
        hold(switch, [f"c{number}" for number in range(count)], "10.0.0.2")
        assert switch.authorize("last", "10.0.0.2")["reason"] == "account_capacity"
        with Asking(server) as asking:
            asking.longest, before, began = 0.0, asking.answered, time.perf_counter()
            clocks.forward(1002)
            wait_for(lambda: switch.authorize("last", "10.0.0.2")["accepted"])  # no leg is held any more
            meanwhile, took = asking.answered - before, time.perf_counter() - began
        print(f"{count} lapsed within {took:.2f} s; {meanwhile} others, longest {asking.longest * 1000:.1f} ms")
        assert meanwhile > 20
        assert asking.longest < took / 2


def killed_at_work(folder: Path, config: str, ids: list[str], before: list[bytes], message: bytes) -> None:
    """Kill a server that holds these calls as soon as it has begun to handle ``message``."""
    server = Server(folder, config)
    try:
        with server.switch() as switch, server.switch(address=B) as other:
            hold(switch, ids)
            switch.burst(before)
            switch.send(message)
            other.authorize("o")  # this answer shows that the message was read
    finally:
        server.kill()


def test_a_death_while_legs_are_freed(folder: Path) -> None:
    config = calls(max_legs=30_000) + SWITCHES
    ids = [f"c{number}" for number in range(20_000)]
    killed_at_work(folder, config, ids, [], request("switch_down", 0))
    with serving(folder, config) as again, again.switch() as switch:
        # The answer comes when the rest of the first message is done. If that was lost, this one frees all legs.
        switch.ask("switch_down")
        stops = switch.burst(request("stop", n, call_id=call_id) for n, call_id in enumerate(ids))
        assert sum(answer["freed"] for answer in stops) == 0


def test_a_death_while_a_list_is_compared(folder: Path) -> None:
    config = calls(max_legs=30_000) + SWITCHES
    ids = [f"c{number}" for number in range(20_000)]
    first, second = (request("sync", 0, list_id=list_id, calls=[["c7"]]) for list_id in ("1", "2"))
    killed_at_work(folder, config, ids, [first], second)
    with serving(folder, config) as again, again.switch() as switch:
        switch.sync("2", "c7")  # the answer was lost, so the switch repeats the message
        stops = switch.burst(request("stop", n, call_id=call_id) for n, call_id in enumerate(ids))
        assert [call_id for call_id, answer in zip(ids, stops, strict=True) if answer["freed"]] == ["c7"]
