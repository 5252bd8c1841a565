"""FreeSWITCH asks by mod_hiredis, and mixes of calls leave no slot: its script of docs/switches runs in Lua."""

from __future__ import annotations

import re
import subprocess
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.freeswitch import FOLDER, Site, bridges, commands, redis_options, responses
from support.operator import held
from support.ports import free_port
from support.programs import program
from support.recipes import (
    CUSTOMER,
    PREFIXED,
    REJECTS,
    TOKEN,
    VENDORS,
    Mixed,
    Reject,
    ask,
    engine,
    holds,
    mix,
    place,
)
from support.server import Server
from support.waiting import PATIENCE, wait_for


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with engine(tmp_path_factory.mktemp("engine")) as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, server: Server) -> Site:
    return Site(tmp_path, server)


def test_redis_a_call_from_invite_to_bye(site: Site) -> None:
    site.use_redis()
    events = site.call(PREFIXED, "77#442079460123", "answer")
    assert bridges(events) == ["sofia/external/442079460123@198.51.100.7:5060 from 442079460201"]
    sent = commands(events)
    assert [command for command, _ in sent] == ["IDENT.AUTHJ", "IDENT.AUTHJ", "IDENT.START", "IDENT.STOP"]
    assert len({fields["call_id"] for _, fields in sent}) == 1
    assert sent[2][1]["interval"] == "300"
    holds(site.server, 0)


@pytest.mark.parametrize("case", REJECTS, ids=lambda case: case.reason)
def test_redis_each_reject_gets_the_code_of_its_reason(site: Site, case: Reject) -> None:
    site.use_redis()
    events = site.call(case.source, case.dialled)
    assert responses(events) == [f"{case.code} {case.reason}"]
    assert len(commands(events)) == 1
    holds(site.server, 0)


def test_redis_a_failed_vendor_frees_its_own_leg(site: Site) -> None:
    site.use_redis()
    site.settings["identengine_vendors"] = "900 902 901"
    events = site.call(CUSTOMER, "4420", "486", "cancel")
    sent = [(command, fields.get("leg_id")) for command, fields in commands(events)]
    assert sent == [
        ("IDENT.AUTHJ", None),
        ("IDENT.AUTHJ", "v1"),
        ("IDENT.STOP", "v1"),
        ("IDENT.AUTHJ", "v2"),
        ("IDENT.AUTHJ", "v3"),
        ("IDENT.STOP", "v3"),
        ("IDENT.STOP", None),
    ]
    assert commands(events)[2][1]["direction"] == "termination"
    holds(site.server, 0)


def test_redis_the_second_profile_is_asked_if_the_first_one_is_away(site: Site) -> None:
    site.use_redis()
    site.engines.insert(0, "away")
    site.profiles["away"] = redis_options(free_port())
    events = site.call(CUSTOMER, "4420", "answer")
    assert len(bridges(events)) == 1
    assert sum("away did not answer" in event for event in events) == 1
    holds(site.server, 0)


def test_redis_a_wrong_token_is_no_accept(site: Site) -> None:
    site.use_redis()
    site.profiles["identengine"] = redis_options(site.server.ports["tcp"], "wrong")
    site.settings["identengine_stops"] = "1"
    assert responses(site.call(CUSTOMER, "4420")) == ["503 no engine"]


def test_redis_a_list_of_a_thousand_calls_frees_the_lost_one(site: Site) -> None:
    site.use_redis()
    calls = [str(uuid.uuid4()) for _ in range(1001)]
    for call in ("lost", calls[0], calls[-1]):
        assert ask(site.server, "authorize", call_id=call, src_ip=CUSTOMER, dst_number="44")["accepted"]
        ask(site.server, "start", call_id=call)
    rows = "".join(f"{call},inbound,2026-11-30 20:00:00\n" for call in calls)

    def listed() -> bool:
        events = site.script("sync", channels=f"uuid,direction,created\n{rows}\n1001 total.\n")
        assert [command for command, _ in commands(events)] == ["IDENT.SYNC"] * 3
        return held(site.server) == 2

    wait_for(listed)
    for call in (calls[0], calls[-1]):
        assert ask(site.server, "stop", call_id=call)["freed"] == 1


MIXES = [pytest.param(60, id="60"), pytest.param(1000, id="1000", marks=pytest.mark.long)]


@pytest.mark.parametrize("kill", [False, True], ids=["steady", "killed"])
@pytest.mark.parametrize("transport", ["http", "redis"])
@pytest.mark.parametrize("count", MIXES)
def test_a_mix_of_calls_leaves_no_slot(site: Site, count: int, transport: str, *, kill: bool) -> None:
    if transport == "redis":
        site.use_redis()
    site.settings["identengine_vendors"] = " ".join(VENDORS)

    def call(number: int, mixed: Mixed) -> None:
        folder = site.folder / str(number)
        folder.mkdir()
        events = site.at(folder).call(mixed.source, mixed.dialled, *mixed.vendors)
        if kill and responses(events) == ["503 no engine"]:
            return
        if mixed.reject:
            assert responses(events) == [f"{mixed.reject.code} {mixed.reject.reason}"]
        else:
            assert len(bridges(events)) == len(mixed.vendors) or kill
            assert responses(events) == (["503 vendor"] if mixed.vendors[-1] == "503" else []) or kill

    place(site.server, mix(count), call, kill=kill)
    holds(site.server, 0)


def test_redis_the_start_of_freeswitch_frees_the_calls_of_the_last_run(site: Site) -> None:
    assert ask(site.server, "authorize", call_id="old", src_ip=CUSTOMER, dst_number="44")["accepted"]
    page = (FOLDER.parent / "freeswitch.md").read_text()
    (line,) = re.findall(r"`ExecStartPre=-/usr/bin/(redis-cli [^`]*)`", page)
    words = line.replace("4870", str(site.server.ports["tcp"])).split()
    command = [program(words[0], "redis-tools"), *words[1:]]
    done = subprocess.run(
        command, env={"REDISCLI_AUTH": TOKEN}, capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert done.stdout == '{"ok":true,"freed":1}\n'


def test_the_hiredis_profile_fits_the_recipe() -> None:
    profile = ET.parse(FOLDER / "hiredis.conf.xml").find(".//profile")
    assert profile is not None
    parameters = {each.attrib["name"]: each.attrib["value"] for each in profile.iter("param")}
    assert profile.attrib["name"] == "identengine"
    assert (parameters["password"], parameters["port"], parameters["timeout_ms"]) == (TOKEN, "4870", "500")
