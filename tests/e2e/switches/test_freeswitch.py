"""FreeSWITCH asks: its script of docs/switches runs in Lua, and curl and redis-cli send what its modules send."""

from __future__ import annotations

import re
import shlex
import subprocess
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import HOST
from support.freeswitch import FOLDER, Site, asked, bridges, check_syntax, methods, responses
from support.operator import held
from support.ports import free_port
from support.programs import program
from support.recipes import (
    AWAY,
    CUSTOMER,
    PREFIXED,
    REJECTS,
    TOKEN,
    Reject,
    ask,
    dying,
    engine,
    holds,
    unavailable,
)
from support.server import Server
from support.waiting import wait_for


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with engine(tmp_path_factory.mktemp("engine")) as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, server: Server) -> Site:
    return Site(tmp_path, server)


def test_the_script_compiles() -> None:
    check_syntax()


def test_a_call_from_invite_to_bye(site: Site) -> None:
    events = site.call(CUSTOMER, "442079460123", "answer")
    assert bridges(events) == ["sofia/external/442079460123@198.51.100.7:5060 from 442070000000"]
    assert methods(events) == ["authorize", "authorize", "start", "stop"]
    (_, origin), (_, out), (_, start), (_, stop) = asked(events)
    assert origin["protocol"] == "SIP"
    assert origin["src_port"] == "5060"
    assert out["direction"] == "termination"
    assert out["account_id"] == "900"
    assert {message["call_id"] for message in (origin, out, start, stop)} == {origin["call_id"]}
    assert start["interval"] == "300"
    assert "direction" not in stop
    holds(site.server, 0)


def test_the_answer_lands_in_the_call_to_the_vendor(site: Site) -> None:
    events = site.call(PREFIXED, "77#442079460123", "answer")
    assert bridges(events) == ["sofia/external/442079460123@198.51.100.7:5060 from 442079460201"]
    assert "header X-Tag: gold" in events


@pytest.mark.parametrize("settings", [{}, {"identengine_on_outage": "accept", "identengine_away": "192.0.2.20"}])
def test_a_tag_of_the_caller_does_not_reach_the_vendor(site: Site, settings: dict[str, str]) -> None:
    if settings:
        site.engines = [f"http://{HOST}:{free_port()}"]
        site.settings |= settings | {"identengine_stops": "1"}
    events = site.call(CUSTOMER, "442079460123", "answer", **{"sip_h_X-Tag": "gold"})
    assert len(bridges(events)) == 1
    assert not any("X-Tag" in event for event in events)


def test_a_number_with_a_hash_is_escaped_in_the_uri(site: Site) -> None:
    events = site.call(CUSTOMER, "99#4420", "answer")
    assert bridges(events) == ["sofia/external/99%234420@198.51.100.7:5060 from 442070000000"]


@pytest.mark.parametrize("case", REJECTS, ids=lambda case: case.reason)
def test_each_reject_gets_the_code_of_its_reason(site: Site, case: Reject) -> None:
    events = site.call(case.source, case.dialled)
    assert responses(events) == [f"{case.code} {case.reason}"]
    assert methods(events) == ["authorize"]
    holds(site.server, 0)


def test_a_failed_vendor_frees_its_own_leg_and_the_next_one_is_tried(site: Site) -> None:
    site.settings["identengine_vendors"] = "900 902 901"
    events = site.call(CUSTOMER, "4420", "486", "answer")
    legs = [(method, message.get("leg_id")) for method, message in asked(events)]
    assert legs == [
        ("authorize", None),
        ("authorize", "v1"),
        ("stop", "v1"),
        ("authorize", "v2"),  # rejected, since it has no free slot: no leg, no stop
        ("authorize", "v3"),
        ("start", None),
        ("stop", None),
    ]
    assert asked(events)[2][1]["direction"] == "termination"
    holds(site.server, 0)


def test_the_last_vendor_decides_the_code(site: Site) -> None:
    events = site.call(CUSTOMER, "4420", "486")
    assert responses(events) == ["486 vendor"]
    holds(site.server, 0)


def test_a_caller_who_cancels_frees_all_legs(site: Site) -> None:
    site.settings["identengine_vendors"] = "900 901"
    events = site.call(CUSTOMER, "4420", "cancel")
    assert len(bridges(events)) == 1
    assert responses(events) == []
    holds(site.server, 0)


def test_calls_in_parallel_are_calls_of_their_own(site: Site) -> None:
    for _ in range(3):  # attempts of one caller, each with its own uuid
        site.call(CUSTOMER, "4420", "cancel")
    holds(site.server, 0)


@pytest.mark.parametrize("dialled", ["44 20", "44'20", '44"20', "44\\20", "44\u00a020", "44%s20", ""])
def test_an_unusual_number_is_not_asked_for(site: Site, dialled: str) -> None:
    events = site.call(CUSTOMER, dialled)
    assert responses(events) == ["484 invalid_destination"]
    assert methods(events) == []


@pytest.mark.parametrize("shown", ['"; drop', "anonymous 'quoted'", "100% \\", "\u0442\u0435\u0441\u0442"])
def test_an_unusual_caller_is_absent(site: Site, shown: str) -> None:
    events = site.call(CUSTOMER, "4420", "answer", caller_id_number=shown)
    assert "src_number" not in asked(events)[0][1]
    assert len(bridges(events)) == 1


def test_without_an_engine_the_call_is_rejected_and_stopped(site: Site) -> None:
    site.engines = [f"http://{HOST}:{free_port()}"]
    site.settings["identengine_stops"] = "3"
    events = site.call(CUSTOMER, "4420")
    assert responses(events) == ["503 no engine"]
    assert methods(events) == ["authorize", "stop", "stop", "stop"]
    assert [event for event in events if event.startswith("msleep")] == ["msleep 1000", "msleep 2000"]


def test_without_an_engine_the_call_can_pass(site: Site) -> None:
    site.engines = [f"http://{HOST}:{free_port()}"]
    site.settings |= {
        "identengine_on_outage": "accept",
        "identengine_away": "192.0.2.20",
        "identengine_stops": "1",
    }
    events = site.call(CUSTOMER, "77#4420", "answer")
    assert bridges(events) == ["sofia/external/77%234420@192.0.2.20 from"]


def test_the_second_engine_is_asked_if_the_first_one_is_away(site: Site) -> None:
    away = f"http://{HOST}:{free_port()}"
    site.engines.insert(0, away)
    events = site.call(CUSTOMER, "4420", "answer")
    # Only the first message tries the engine that is away. The others follow the engine that knows the call.
    assert sum(f"{away} did not answer" in event for event in events) == 1
    assert methods(events) == ["authorize", "authorize", "authorize", "start", "stop"]
    holds(site.server, 0)


def test_an_engine_that_dies_during_a_call_gets_its_stop_too(site: Site, tmp_path: Path) -> None:
    with engine(tmp_path) as other, dying(site.server.ports["http"], exchanges=1) as port:
        site.engines = [f"http://{HOST}:{port}", f"http://{HOST}:{other.ports['http']}"]
        site.settings["identengine_stops"] = "2"
        events = site.call(CUSTOMER, "4420", "answer")
        # The first engine dies after the first message. The second one authorizes the attempt at the vendor.
        last = next(event for event in events if "was not answered by" in event and "stop of" in event)
        assert last.endswith(site.engines[0])
        holds(other, 0)
        site.engines[0] = f"http://{HOST}:{site.server.ports['http']}"
        (call,) = {message["call_id"] for _, message in asked(events)}
        site.script("stop", call, ",".join(site.engines))  # the first engine is back before the stop was given up
        holds(site.server, 0)


@pytest.mark.parametrize("answer", AWAY, ids=["decider", "book"])
def test_an_engine_without_a_part_is_away(site: Site, answer: tuple[int, bytes]) -> None:
    with unavailable(*answer) as port:
        site.engines.insert(0, f"http://{HOST}:{port}")
        events = site.call(CUSTOMER, "4420", "answer")
    # Each authorization begins with the engine that authorized the call.
    assert methods(events) == ["authorize", "authorize", "authorize", "start", "stop"]
    holds(site.server, 0)


def test_a_wrong_token_is_no_outage_of_one_engine(site: Site) -> None:
    site.engines *= 2
    site.settings["identengine_token"] = "wrong"
    events = site.call(CUSTOMER, "4420")
    assert responses(events) == ["503 no engine"]
    assert methods(events) == ["authorize", "stop", "stop"]  # to each engine, and not repeated
    assert any("401" in event for event in events)


def test_a_list_frees_lost_calls_and_renews_the_others(site: Site) -> None:
    lost, live = str(uuid.uuid4()), str(uuid.uuid4())
    for call in (lost, live):
        assert ask(site.server, "authorize", call_id=call, src_ip=CUSTOMER, dst_number="44")["accepted"]
        ask(site.server, "start", call_id=call)
    shown = (
        "uuid,direction,created,created_epoch,name,state\n"
        f"{live},inbound,2026-11-30 20:00:00,1,sofia/internal/4420@192.0.2.10,CS_EXECUTE\n"
        f"{uuid.uuid4()},outbound,2026-11-30 20:00:00,1,sofia/external/4420,CS_EXCHANGE_MEDIA\n"
        "\n2 total.\n"
    )

    def listed() -> bool:
        ((method, message),) = asked(site.script("sync", channels=shown))
        assert (method, message["calls"], message["part"], message["parts"]) == ("sync", [[live]], 1, 1)
        return held(site.server) == 1

    wait_for(listed)  # lists of one second have one id, and a call is freed when two lists do not have it
    assert ask(site.server, "stop", call_id=live)["freed"] == 1


def test_a_long_list_is_sent_in_parts(site: Site) -> None:
    rows = "".join(f"{uuid.uuid4()},inbound,2026-11-30 20:00:00\n" for _ in range(1001))
    parts = asked(site.script("sync", channels=f"uuid,direction,created\n{rows}\n1001 total.\n"))
    assert [len(message["calls"]) for _, message in parts] == [500, 500, 1]
    assert [message["part"] for _, message in parts] == [1, 2, 3]
    assert len({message["list_id"] for _, message in parts}) == 1


@pytest.mark.parametrize(
    "shown",
    ["", "-ERR no reply\n", "uuid,direction\nce2cfd31-28b2-4f8a-a6df-7dd2b41c1f01,outbound,\n\n1 total.\n"],
)
def test_an_empty_list_that_is_not_certain_is_not_sent(site: Site, shown: str) -> None:
    assert asked(site.script("sync", channels=shown)) == []


@pytest.mark.parametrize("transport", ["http", "redis"])
def test_an_empty_list_frees_the_last_lost_call(site: Site, transport: str) -> None:
    if transport == "redis":
        site.use_redis()
    assert ask(site.server, "authorize", call_id="lost", src_ip=CUSTOMER, dst_number="44")["accepted"]
    ask(site.server, "start", call_id="lost")

    def listed() -> bool:
        site.script("sync", channels="\n0 total.\n")
        return held(site.server) == 0

    wait_for(listed)


def test_the_start_of_freeswitch_schedules_the_lists(site: Site) -> None:
    parameter = ET.parse(FOLDER / "lua.conf.xml").find(".//param[@name='startup-script']")
    assert parameter is not None
    name, *words = parameter.attrib["value"].split()
    assert name == "identengine.lua"
    assert site.script(*words)[-1] == "sched_api @300 identengine luarun identengine.lua sync"


def test_systemd_reports_the_start_of_freeswitch(site: Site) -> None:
    assert ask(site.server, "authorize", call_id="old", src_ip=CUSTOMER, dst_number="44")["accepted"]
    text = (FOLDER / "switch_up.conf").read_text()
    (line,) = re.findall(r"^ExecStartPre=-/usr/bin/curl (.*)$", text, re.MULTILINE)
    line = line.replace("${TOKEN}", TOKEN).replace("${ENGINE}", site.engines[0])
    subprocess.run([program("curl", "curl"), *shlex.split(line)], check=True)
    holds(site.server, 0)


@pytest.mark.parametrize("file", ["dialplan.xml", "lua.conf.xml", "hiredis.conf.xml"])
def test_the_xml_is_well_formed(file: str) -> None:
    ET.parse(FOLDER / file)
