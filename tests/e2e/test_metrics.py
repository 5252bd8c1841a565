"""The metrics of a real server: they count all requests, and keep their values over deaths and restarts."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from support import HOST
from support.operator import CALLS, asked, book, burst, call, hold
from support.server import Server, serving
from support.switch import request
from support.waiting import wait_for

from identengine.cli.operatorclient import NoServerError, OperatorClient, fullest
from identengine.stats.metrics import MOST_ROWS, exposition
from identengine.wire.operator import Status, StatusRequest

LISTEN = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\nstandby = true\n'
PATIENT = "[limits]\ndatagram_age_ms = 60000\n"
"""Datagrams of a slow machine are not too old."""


class Scrape:
    """One scrape."""

    def __init__(self, server: Server) -> None:
        folder = server.folder / "calls"
        try:
            with OperatorClient(folder, 5.0) as asking:
                status = asking.ask(StatusRequest(), Status)
                uses = [fullest(asking, of, MOST_ROWS) for of in ("accounts", "clients")]
        except NoServerError:
            status, uses = None, [[], []]
        text = exposition(folder, status, uses[0], uses[1]).decode()
        self.samples = {
            (sample.name.removeprefix("identengine_"), frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, name: str, labels: Mapping[str, str] | None = None) -> float:
        return self.samples[name, frozenset((labels or {}).items())]


def scrape(server: Server) -> Scrape:
    return Scrape(server)


def test_counters_go_on_over_deaths_and_a_restart(tmp_path: Path) -> None:
    folder = book(tmp_path)
    began = time.time()
    with serving(folder, CALLS + LISTEN + PATIENT, patient=True) as server:
        hold(server, 10)
        burst(server, [call("stranger", "10.9.9.9"), request("start", 1, call_id="c1")])
        assert not server.authorize(src_ip="10.9.9.9", dst_number="44", direction="termination")["accepted"]
        accepted = ("accepted_total", {"interface": "tcp", "direction": "origination"})
        rejected = ("rejected_total", {"interface": "tcp", "direction": "origination", "reason": "unknown_source"})
        out = ("rejected_total", {"interface": "udp", "direction": "termination", "reason": "unknown_source"})
        first = scrape(server)
        assert (first(*accepted), first(*rejected), first(*out)) == (10, 1, 1)
        assert first("decide_seconds_count") == first("batch_requests_sum") == 13
        assert 1e-6 < first("decide_seconds_sum") < 60
        assert first("requests_total", {"interface": "tcp", "method": "start"}) == 1
        wait_for(lambda: scrape(server)("legs", {"state": "active"}) == 1)
        with server.tcp():
            wait_for(lambda: scrape(server)("connections", {"interface": "tcp"}) == 1)
        account = {"id": "17", "name": "trunk", "direction": "origination"}
        first = scrape(server)
        assert (first("account_legs", account), first("account_limit_legs", account)) == (10, 8000)
        assert (first("up"), first("legs_held"), first("legs", {"state": "reserved"})) == (1, 10, 9)
        assert (first("book_version"), first("book_accounts"), first("alarms")) == (1, 2, 0)
        assert began - 60 < first("book_taken_up_timestamp_seconds") <= time.time()
        assert 0 <= first("book_age_seconds") < 600
        assert 0 < first("book_load_seconds") < 600
        wait_for(lambda: scrape(server)("decider_cpu_seconds_total") > 0)
        assert 10_000_000 < scrape(server)("decider_resident_memory_bytes") < 1_000_000_000

        dead, standby = server.decider, server.standby
        os.kill(dead, signal.SIGKILL)
        wait_for(lambda: server.decider == standby)
        wait_for(lambda: scrape(server)("decider_starts_total") == 2)
        hold(server, 5, name="d")
        second = scrape(server)
        assert (second(*accepted), second(*rejected), second(*out)) == (15, 1, 1)
        assert second("decider_cpu_seconds_total") >= first("decider_cpu_seconds_total")
        wait_for(lambda: scrape(server)("restarts_total", {"process": "decider"}) == 1)
        os.kill(server.standby, signal.SIGKILL)
        wait_for(lambda: scrape(server)("restarts_total", {"process": "standby"}) == 1)
    away = scrape(server)
    assert (away("up"), away(*accepted), away("decider_starts_total")) == (0, 15, 2)
    with serving(folder, CALLS + PATIENT) as again:
        hold(again, 1, name="e")
        third = scrape(again)
        assert (third("up"), third(*accepted), third("decider_starts_total")) == (1, 16, 3)
        assert third("restarts_total", {"process": "decider"}) == 1
        assert third("counters_began_timestamp_seconds") == first("counters_began_timestamp_seconds")
        wait_for(lambda: scrape(again)("legs_held") == 16)


def test_rejects_by_switch_go_on_over_a_restart(tmp_path: Path) -> None:
    folder = book(tmp_path)
    key = "rejected_by_switch_total", frozenset({("switch", "local")})
    with serving(folder, CALLS) as server:
        burst(server, [call("a", "10.9.9.9"), call("b", "10.9.9.9"), call("c")])
        wait_for(lambda: scrape(server).samples.get(key) == 2)
    with serving(folder, CALLS) as again:
        burst(again, [call("d", "10.9.9.9")])
        wait_for(lambda: scrape(again).samples.get(key) == 3)


def test_an_alarm_shows(tmp_path: Path) -> None:
    folder = book(tmp_path)
    with serving(folder, '[calls]\npath = "calls"\nmax_legs = 10\n' + PATIENT) as server:
        hold(server, 10)
        (answer,) = burst(server, [call("more")])
        assert answer["reason"] == "overload"
        wait_for(lambda: scrape(server)("alarms") == 1)
        assert asked(server, ask="status")["unready"] == ["the set of calls is full"]
        server.logged("Run `identengine calls` to see which")


def test_a_death_of_the_http_process_is_counted(tmp_path: Path) -> None:
    with serving(
        book(tmp_path), CALLS + f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\nhttp = "{HOST}:0"\n'
    ) as server:
        os.kill(server.http, signal.SIGKILL)
        wait_for(lambda: scrape(server)("restarts_total", {"process": "http"}) == 1)
        assert scrape(server)("restarts_total", {"process": "decider"}) == 0
