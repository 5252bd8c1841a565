"""Asterisk asks: its dialplan of docs/switches runs in a reader of dialplans, and curl sends its requests."""

from __future__ import annotations

import itertools
import os
import re
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import HOST
from support.asterisk import FOLDER, REPORT, Channel, Dialplan
from support.operator import held
from support.ports import free_port
from support.recipes import (
    AWAY,
    CUSTOMER,
    PREFIXED,
    REJECTS,
    TOKEN,
    VENDORS,
    Mixed,
    Reject,
    ask,
    dying,
    engine,
    holds,
    mix,
    place,
    unavailable,
)
from support.server import Server
from support.waiting import wait_for

VENDOR = "PJSIP/vendors/sip:{}@198.51.100.7:5060"
_IDS = itertools.count(1)


class Site:
    """An engine, and an Asterisk that asks it."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self.server = folder, server
        self.engine = f"http://{HOST}:{server.ports['http']}"
        self.dialplan = Dialplan()
        self.dialplan.globals |= {"IDENT_ENGINE": self.engine, "IDENT_TOKEN": TOKEN, "IDENT_REPORT": self.report()}
        slow = {"IDENT_CONNECT": "20", "IDENT_TIMEOUT": "20"}  # the machine of a test may be slow
        self.dialplan.globals |= slow

    def report(self) -> str:
        """Return the command line of identengine-report."""
        self.env = self.folder / "identengine.env"
        self.env.write_text(f"ENGINES='{self.engine}'\nTOKEN='{TOKEN}'\n")
        return f"IDENTENGINE_ENV={self.env} {REPORT}"

    def call(self, source: str, dialled: str, *dials: str, shown: str = "442070000000") -> Channel:
        """Place a call."""
        assert self.dialplan.matches(dialled)
        variables = {
            "UNIQUEID": f"asterisk1-1790000000.{next(_IDS)}",
            "EXTEN": dialled,
            "remote_addr": f"{source}:5060",
            "callerid": shown,
        }
        return Channel(self.dialplan, variables, dials).call()

    def run(self, *words: str, channels: str = "", status: int = 0) -> None:
        """Run identengine-report, with an ``asterisk -rx`` that prints ``channels`` and exits with ``status``."""
        fake = self.folder / "asterisk"
        fake.write_text(f"#!/bin/sh\ncat <<'END'\n{channels}\nEND\nexit {status}\n")
        fake.chmod(stat.S_IRWXU)
        env = os.environ | {
            "IDENTENGINE_ENV": str(self.env),
            "PATH": os.pathsep.join([str(self.folder), os.environ["PATH"]]),
        }
        subprocess.run([REPORT, *words], env=env, check=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with engine(tmp_path_factory.mktemp("engine")) as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, server: Server) -> Site:
    return Site(tmp_path, server)


def methods(channel: Channel) -> list[str]:
    return [method for method, _ in channel.asked]


def legs(channel: Channel) -> list[tuple[str, object]]:
    return [(method, message.get("leg_id")) for method, message in channel.asked]


def test_a_call_from_invite_to_bye(site: Site) -> None:
    call = site.call(CUSTOMER, "442079460123", "answer")
    assert call.events == [("dial", VENDOR.format("442079460123"), "442070000000")]
    assert methods(call) == ["authorize", "authorize", "start", "stop"]
    (_, origin), (_, out), (_, start), (_, stop) = call.asked
    assert (origin["src_ip"], origin["src_port"], origin["protocol"]) == (CUSTOMER, "5060", "SIP")
    assert (out["direction"], out["account_id"]) == ("termination", "900")
    assert {message["call_id"] for message in (origin, out, start, stop)} == {call.variables["UNIQUEID"]}
    assert start["interval"] == "300"
    assert "direction" not in stop
    holds(site.server, 0)


def test_the_answer_lands_in_the_call_to_the_vendor(site: Site) -> None:
    call = site.call(PREFIXED, "77#442079460123", "answer")
    assert call.events == [
        ("dial", VENDOR.format("442079460123"), "442079460201"),
        ("header", "X-Tag", "gold"),
    ]


def test_a_number_with_a_hash_is_escaped_in_the_uri(site: Site) -> None:
    call = site.call(CUSTOMER, "99#4420", "answer")
    assert call.events == [("dial", VENDOR.format("99%234420"), "442070000000")]


@pytest.mark.parametrize("case", REJECTS, ids=lambda case: case.reason)
def test_each_reject_gets_the_code_of_its_reason(site: Site, case: Reject) -> None:
    call = site.call(case.source, case.dialled)
    assert call.events[-1] == ("reject", case.code)
    assert call.events[0][1].endswith(f"rejected: {case.reason}")
    assert methods(call) == ["authorize"]
    holds(site.server, 0)


def test_a_failed_vendor_frees_its_own_leg_and_the_next_one_is_tried(site: Site) -> None:
    site.dialplan.globals["IDENT_VENDORS"] = "900-902-901"
    call = site.call(CUSTOMER, "4420", "17", "answer")
    assert legs(call) == [
        ("authorize", None),
        ("authorize", "v1"),
        ("stop", "v1"),
        ("authorize", "v2"),  # rejected, since it has no free slot: no leg, no stop
        ("authorize", "v3"),
        ("start", None),
        ("stop", None),
    ]
    assert call.asked[2][1]["direction"] == "termination"
    holds(site.server, 0)


def test_the_last_vendor_decides_the_cause(site: Site) -> None:
    assert site.call(CUSTOMER, "4420", "17").events[-1] == ("hangup", "17")
    holds(site.server, 0)


def test_the_reject_of_the_last_vendor_decides_the_code(site: Site) -> None:
    site.dialplan.globals["IDENT_VENDORS"] = "902"
    call = site.call(CUSTOMER, "4420")
    assert call.events == [("reject", "480")]
    assert methods(call) == ["authorize", "authorize", "stop"]
    holds(site.server, 0)


def test_a_caller_who_cancels_frees_all_legs(site: Site) -> None:
    site.dialplan.globals["IDENT_VENDORS"] = "900-901"
    call = site.call(CUSTOMER, "4420", "cancel")
    assert methods(call) == ["authorize", "authorize", "stop"]
    holds(site.server, 0)


@pytest.mark.parametrize("shown", ['"; drop', "${SHELL(id)}", "a,b}", "100% \\", "\u0442\u0435\u0441\u0442", ""])
def test_an_unusual_caller_cannot_change_the_request(site: Site, shown: str) -> None:
    call = site.call(CUSTOMER, "4420", "answer", shown=shown)
    assert re.fullmatch(r"[\w+*#]*", call.asked[0][1]["src_number"], re.ASCII)
    assert call.asked[0][1]["src_ip"] == CUSTOMER
    assert methods(call) == ["authorize", "authorize", "start", "stop"]


def test_the_pattern_matches_no_special_extension(site: Site) -> None:
    assert not any(site.dialplan.matches(name) for name in ("h", "i", "s", "t", "T"))


def test_without_an_engine_the_call_is_rejected_and_stopped(site: Site) -> None:
    assert ask(site.server, "authorize", call_id="late", src_ip=CUSTOMER, dst_number="44")["accepted"]
    site.dialplan.globals["IDENT_ENGINE"] = f"http://{HOST}:{free_port()}"
    variables = {"UNIQUEID": "late", "EXTEN": "44", "remote_addr": f"{CUSTOMER}:5060", "callerid": "4420"}
    call = Channel(site.dialplan, variables).call()
    assert call.events == [("reject", "503")]
    assert methods(call) == ["authorize", "stop"]
    holds(site.server, 0)  # identengine-report has reached the engine


def test_without_an_engine_the_call_can_pass(site: Site) -> None:
    site.dialplan.globals |= {"IDENT_ENGINE": f"http://{HOST}:{free_port()}", "IDENT_AWAY": "192.0.2.20"}
    call = site.call(CUSTOMER, "77#4420", "answer")
    assert call.events == [("dial", "PJSIP/vendors/sip:77%234420@192.0.2.20", "442070000000")]


def test_the_second_engine_is_asked_if_the_first_one_is_away(site: Site) -> None:
    site.dialplan.globals |= {"IDENT_ENGINE": f"http://{HOST}:{free_port()}", "IDENT_ENGINE2": site.engine}
    call = site.call(CUSTOMER, "4420", "answer")
    # Only the first message tries the engine that is away. The others follow the engine that knows the call.
    assert methods(call) == ["authorize", "authorize", "authorize", "start", "stop"]
    holds(site.server, 0)


def test_an_engine_that_dies_during_a_call_gets_its_stop_too(site: Site, tmp_path: Path) -> None:
    away = site.engine
    with engine(tmp_path) as other, dying(site.server.ports["http"], exchanges=1) as port:
        second = f"http://{HOST}:{other.ports['http']}"
        site.dialplan.globals |= {"IDENT_ENGINE": f"http://{HOST}:{port}", "IDENT_ENGINE2": second}
        site.engine = f"{away} {second}"  # when identengine-report stops the call, the first engine is back
        site.report()
        call = site.call(CUSTOMER, "4420", "answer")
        assert call.asked[0][0] == "authorize"
        holds(other, 0)
    holds(site.server, 0)


@pytest.mark.parametrize("answer", AWAY, ids=["decider", "book"])
def test_an_engine_without_a_part_is_away(site: Site, answer: tuple[int, bytes]) -> None:
    with unavailable(*answer) as port:
        site.dialplan.globals |= {"IDENT_ENGINE": f"http://{HOST}:{port}", "IDENT_ENGINE2": site.engine}
        call = site.call(CUSTOMER, "4420", "answer")
    assert methods(call) == ["authorize", "authorize", "authorize", "start", "stop"]
    holds(site.server, 0)


def test_a_wrong_token_is_not_an_accept(site: Site) -> None:
    site.dialplan.globals["IDENT_TOKEN"] = "wrong"
    assert site.call(CUSTOMER, "4420").events == [("reject", "503")]


def test_the_report_stops_one_leg_or_all(site: Site) -> None:
    assert ask(site.server, "authorize", call_id="two", src_ip=CUSTOMER, dst_number="44")["accepted"]
    out = {"direction": "termination", "account_id": 900, "leg_id": "v1"}
    assert ask(site.server, "authorize", call_id="two", dst_number="44", **out)["accepted"]
    site.run("stop", "two", "termination", "v1")
    assert held(site.server) == 1
    site.run("stop", "two")
    assert held(site.server) == 0


def test_the_report_repeats_a_stop_until_an_engine_answers(site: Site) -> None:
    assert ask(site.server, "authorize", call_id="lost", src_ip=CUSTOMER, dst_number="44")["accepted"]
    site.engine = f"http://{HOST}:{free_port()} {site.engine}"
    site.report()
    text = REPORT.read_text()
    assert "--retry-max-time 60" in text
    brief = site.folder / "brief"
    brief.write_text(text.replace("--retry-max-time 60", "--retry-max-time 1").replace("--retry-delay 5", ""))
    subprocess.run(
        ["/bin/sh", brief, "stop", "lost"], env=os.environ | {"IDENTENGINE_ENV": str(site.env)}, check=True
    )
    assert held(site.server) == 0


def test_the_start_of_asterisk_frees_the_calls_of_the_last_run(site: Site) -> None:
    assert ask(site.server, "authorize", call_id="old", src_ip=CUSTOMER, dst_number="44")["accepted"]
    (line,) = re.findall(r"^ExecStartPre=-(.*)$", (FOLDER / "systemd.conf").read_text(), re.MULTILINE)
    program, *words = line.split()
    assert Path(program).name == REPORT.name
    site.run(*words)
    holds(site.server, 0)


def row(call: str) -> str:
    """Return a channel as ``core show channels concise`` prints it."""
    return f"PJSIP/acme-0000001!identengine!4420!27!Up!Dial!PJSIP/x!44!acme!!3!62!0f6c1d!{call}"


def test_a_list_frees_lost_calls_and_renews_the_others(site: Site) -> None:
    for call in ("lost", "live"):
        assert ask(site.server, "authorize", call_id=call, src_ip=CUSTOMER, dst_number="44")["accepted"]
        ask(site.server, "start", call_id=call)
    (line,) = re.findall(
        r"^\*.* root \S+/identengine-report (.*)$", (FOLDER / "sync.cron").read_text(), re.MULTILINE
    )

    def listed() -> bool:
        site.run(*line.split(), channels=f"{row('live')}\n{row('1790000001.7')}\nno such channel")
        return held(site.server) == 1

    wait_for(listed)  # lists of one second have one id, and a call is freed when two lists do not have it
    assert ask(site.server, "stop", call_id="live")["freed"] == 1


def test_an_empty_list_frees_the_last_lost_call(site: Site) -> None:
    assert ask(site.server, "authorize", call_id="lost", src_ip=CUSTOMER, dst_number="44")["accepted"]
    ask(site.server, "start", call_id="lost")

    def listed() -> bool:
        site.run("sync")
        return held(site.server) == 0

    wait_for(listed)


def test_an_asterisk_that_is_away_has_no_list(site: Site) -> None:
    assert ask(site.server, "authorize", call_id="live", src_ip=CUSTOMER, dst_number="44")["accepted"]
    ask(site.server, "start", call_id="live")
    time.sleep(1.1)  # the grace of the config
    for _ in range(3):
        with pytest.raises(subprocess.CalledProcessError):
            site.run("sync", status=1)
        time.sleep(1)  # the next list has another id
    assert held(site.server) == 1
    assert ask(site.server, "stop", call_id="live")["freed"] == 1


def test_a_long_list_is_sent_in_parts(site: Site) -> None:
    calls = [f"1790000000.{number}" for number in range(1001)]
    for call in (calls[0], calls[-1]):
        assert ask(site.server, "authorize", call_id=call, src_ip=CUSTOMER, dst_number="44")["accepted"]
        ask(site.server, "start", call_id=call)
    assert ask(site.server, "authorize", call_id="lost", src_ip=CUSTOMER, dst_number="44")["accepted"]
    ask(site.server, "start", call_id="lost")

    def listed() -> bool:
        site.run("sync", channels="\n".join(map(row, calls)))
        return held(site.server) == 2

    wait_for(listed)
    for call in (calls[0], calls[-1]):
        assert ask(site.server, "stop", call_id=call)["freed"] == 1


CAUSES = {"486": "17", "503": "38"}
"""The Q.850 causes that Asterisk makes of the codes of vendors."""


@pytest.mark.parametrize("kill", [False, True], ids=["steady", "killed"])
@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.long)])
def test_a_mix_of_calls_leaves_no_slot(site: Site, count: int, *, kill: bool) -> None:
    site.dialplan.globals["IDENT_VENDORS"] = "-".join(VENDORS)

    def call(_number: int, mixed: Mixed) -> None:
        done = site.call(mixed.source, mixed.dialled, *(CAUSES.get(each, each) for each in mixed.vendors))
        if kill and done.events[-1] == ("reject", "503"):
            return
        dialled = sum(event[0] == "dial" for event in done.events)
        if mixed.reject:
            assert done.events[-1] == ("reject", mixed.reject.code)
        else:
            assert dialled == len(mixed.vendors) or kill
            assert (done.events[-1] == ("hangup", "38")) is (mixed.vendors[-1] == "503") or kill

    place(site.server, mix(count), call, kill=kill)
    holds(site.server, 0)
