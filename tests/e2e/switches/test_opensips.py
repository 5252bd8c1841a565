"""OpenSIPS asks: the requests of its config of docs/switches, sent as its module jsonrpc sends them."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from support import HOST
from support.opensips import CONFIG, Routes, message, notify, request
from support.operator import held
from support.ports import free_port
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

ROUTES = Routes()
DST = "$(rU{s.unescape.user}{s.select,0,;})"
SRC = "$(fU{s.unescape.user}{s.select,0,;})"
ASSERTED = "$(ai{uri.user}{s.unescape.user}{s.select,0,;})"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with engine(tmp_path_factory.mktemp("engine")) as running:
        yield running


class Call:
    """A call of OpenSIPS, which runs the routes of the config by their names."""

    def __init__(self, server: Server, source: str = CUSTOMER, dialled: str = "442079460123") -> None:
        self._port = server.ports["tcp"]
        call = str(uuid.uuid4())
        self.values: dict[str, Any] = {
            "$avp(call)": call,
            "$dlg_val(call)": call,
            "$si": source,
            "$sp": 5060,
            DST: dialled,
            SRC: "442070000000",
            ASSERTED: None,
            "$shv(token)": TOKEN,
            "$shv(interval)": 300,
            "$avp(account)": "900",
            "$avp(leg)": 1,
        }

    def run(self, route: str, **values: Any) -> Any:
        """Run a route. Return the result."""
        self.values |= {f"$avp({name})": value for name, value in values.items()}
        code, result = request(self._port, *ROUTES.ask(route, self.values))
        assert code == 1, result
        if route == "AUTHORIZE" and result["accepted"]:
            self.values["$avp(dst)"] = result["dst_number"]
        return result


def test_a_call_from_invite_to_bye(server: Server) -> None:
    call = Call(server)
    origin = call.run("AUTHORIZE")
    assert origin["accepted"]
    assert origin["src_number"] == "442070000000"
    out = call.run("AUTHORIZE_LEG")
    assert (out["host"], out["port"], out["dst_number"]) == ("198.51.100.7", 5060, "442079460123")
    assert held(server) == 2
    assert call.run("ANSWERED") == {"ok": True}
    assert call.run("ENDED") == {"ok": True, "freed": 2}
    holds(server, 0)


def test_the_answer_has_what_lands_in_the_call(server: Server) -> None:
    call = Call(server, PREFIXED, "77#442079460123")
    answer = call.run("AUTHORIZE")
    assert (answer["dst_number"], answer["src_number"], answer["tag"]) == ("442079460123", "442079460201", "gold")
    for name in ("dst_number", "src_number", "tag", "host", "port", "proxy", "reason", "sip_code", "q850"):
        assert f"json(answer/{name})" in CONFIG.read_text()
    call.run("STOP")
    holds(server, 0)


@pytest.mark.parametrize("case", REJECTS, ids=lambda case: case.reason)
def test_each_reject_gets_the_code_of_its_reason(server: Server, case: Reject) -> None:
    answer = Call(server, case.source, case.dialled).run("AUTHORIZE")
    assert not answer["accepted"]
    assert answer["reason"] == case.reason
    code = 403 if answer["sip_code"] == 401 else answer["sip_code"]  # as in route[REJECT]
    assert str(code) == case.code
    holds(server, 0)


def test_the_route_of_rejects_changes_401_alone() -> None:
    assert (
        "$var(code) = $json(answer/sip_code);\n\tif ($var(code) == 401) {\n\t\t$var(code) = 403;"
        in ROUTES["REJECT"]
    )


def test_a_failed_vendor_frees_its_own_leg_and_the_next_one_is_tried(server: Server) -> None:
    call = Call(server)
    call.run("AUTHORIZE")
    call.run("AUTHORIZE_LEG")
    assert call.run("STOP_LEG") == {"ok": True, "freed": 1}
    assert call.run("AUTHORIZE_LEG", account="902", leg=2)["reason"] == "account_capacity"
    assert call.run("AUTHORIZE_LEG", account="901", leg=3)["accepted"]
    call.run("ANSWERED")
    assert call.run("ENDED")["freed"] == 2
    holds(server, 0)


def test_a_caller_who_cancels_frees_all_legs(server: Server) -> None:
    call = Call(server)
    call.run("AUTHORIZE")
    call.run("AUTHORIZE_LEG")
    assert call.run("STOP")["freed"] == 2
    holds(server, 0)


def test_an_attempt_of_a_forked_call_is_a_call_of_its_own(server: Server) -> None:
    first, second = Call(server), Call(server)
    for call in (first, second):
        assert call.run("AUTHORIZE")["accepted"]
    assert first.run("STOP")["freed"] == 1
    assert second.run("ANSWERED") == {"ok": True}
    assert second.run("ENDED")["freed"] == 1


def test_the_start_of_opensips_frees_the_calls_of_the_last_run(server: Server) -> None:
    assert ask(server, "authorize", call_id="old", src_ip=CUSTOMER, dst_number="44")["accepted"]
    method, params = ROUTES.ask("startup_route", Call(server).values)
    assert (method, params) == ("switch_up", {"token": TOKEN})
    assert request(server.ports["tcp"], method, params) == (1, {"ok": True, "freed": 1})


def test_a_list_frees_lost_calls_and_renews_the_others(server: Server) -> None:
    lost, live = Call(server), Call(server)
    for call in (lost, live):
        call.run("AUTHORIZE")
        call.run("ANSWERED")
    numbers = iter(range(1, 1000))

    def listed() -> bool:
        values = {"$var(list)": str(next(numbers)), "$var(part)": 1, "$var(parts)": 1, "$shv(token)": TOKEN}
        method, params = ROUTES.ask("LISTS", values)
        assert '$var(entry) = "[\\"" + $(avp(calls)[$var(index)]) + "\\"]";' in ROUTES["LISTS"]
        params["calls"] = [[live.values["$avp(call)"]]]
        assert request(server.ports["tcp"], method, params)[0] == 1
        return held(server) == 1

    wait_for(listed)
    assert live.run("ENDED")["freed"] == 1


def test_all_parts_of_a_list_have_one_id() -> None:
    before, loop = ROUTES["LISTS"].split("while ($var(part) <= $var(parts))")
    assert '$var(list) = "" + $Ts;' in before
    assert "$Ts" not in loop


def test_headers_of_the_caller_do_not_reach_the_vendor() -> None:
    """A caller could name another caller, or the tag of another account."""
    removed, appended = ROUTES["NEW_CALL"].split("append_hf", 1)
    for name in ("P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "X-Tag"):
        assert f'\n\tremove_hf("{name}");\n' in removed
    assert 'if (!($hdr(Privacy) =~ "id|user" || $fU =~ "^[Aa]nonymous$")) {\n\t\t\tuac_replace_from' in appended


def test_an_empty_list_frees_the_last_lost_call(server: Server) -> None:
    lost = Call(server)
    lost.run("AUTHORIZE")
    lost.run("ANSWERED")
    numbers = iter(range(1001, 2000))

    def listed() -> bool:
        method, params = ROUTES.ask("NO_CALLS", {"$Ts": next(numbers), "$shv(token)": TOKEN})
        assert params["confirm_empty"] is True
        assert request(server.ports["tcp"], method, params)[0] == 1
        return held(server) == 0

    wait_for(listed)


def test_every_route_that_asks_is_tested() -> None:
    asking = {name for name in ROUTES.names() if "json(ask)" in ROUTES[name]} - {"ASK", "ASK_ALL", "SEND"}
    of_calls = {"AUTHORIZE", "AUTHORIZE_LEG", "STOP_LEG", "STOP", "ANSWERED", "ENDED"}
    assert asking == of_calls | {"LISTS", "NO_CALLS", "startup_route"}


def test_numbers_with_quotes_and_other_alphabets_stay_one_value(server: Server) -> None:
    call = Call(server)
    call.values[SRC] = 'a"b\\c\u0442 </\u2028'
    assert call.run("AUTHORIZE")["accepted"]
    call.run("STOP")
    holds(server, 0)


def test_bytes_that_are_not_utf_8_are_an_error(server: Server) -> None:
    with socket.create_connection((HOST, server.ports["tcp"]), PATIENCE) as connection:
        sent = message("authorize", {"token": TOKEN, "src_ip": CUSTOMER, "dst_number": "44"}, 7)
        connection.sendall(sent.replace(b'"44"', b'"4\xff4"'))
        assert b'"error"' in connection.recv(8192)


def test_a_wrong_token_is_an_error(server: Server) -> None:
    code, error = request(
        server.ports["tcp"], "authorize", {"token": "wrong", "src_ip": CUSTOMER, "dst_number": "44"}
    )
    assert code == -3
    assert error["code"] == -32602


def test_an_answer_fits_the_buffer_of_the_module(server: Server) -> None:
    call = Call(server, PREFIXED, "77#" + "4" * 61)
    answer = call.run("AUTHORIZE")
    assert answer["accepted"]
    assert len(str(answer)) < 4096
    call.run("STOP")
    holds(server, 0)


def test_a_notification_is_done_although_its_connection_is_closed_at_once(server: Server) -> None:
    for _ in range(20):
        call = str(uuid.uuid4())
        assert ask(server, "authorize", call_id=call, src_ip=CUSTOMER, dst_number="44")["accepted"]
        notify(server.ports["tcp"], "stop", {"token": TOKEN, "call_id": call})
        holds(server, 0)


def test_a_request_that_is_closed_before_its_answer_is_done(server: Server) -> None:
    with socket.create_connection((HOST, server.ports["tcp"]), PATIENCE) as connection:
        params = {"token": TOKEN, "call_id": "gone", "src_ip": CUSTOMER, "dst_number": "44"}
        connection.sendall(message("authorize", params, 9))
    holds(server, 1)
    assert ask(server, "stop", call_id="gone")["freed"] == 1


def test_a_request_in_pieces_is_one_request(server: Server) -> None:
    sent = message("ping", {"token": TOKEN}, 11)
    with socket.create_connection((HOST, server.ports["tcp"]), PATIENCE) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(sent)):
            connection.sendall(sent[at : at + 1])
            time.sleep(0.001)
        assert b'"result"' in connection.recv(8192)


def test_many_connections_one_after_the_other_leave_none(server: Server) -> None:
    for _ in range(500):  # twice the limit of connections of a switch
        code, _answer = request(server.ports["tcp"], "ping", {"token": TOKEN})
        assert code == 1


def test_without_an_engine_the_module_fails_at_once() -> None:
    with pytest.raises(OSError, match="refused"):
        request(free_port(), "ping", {})


@pytest.mark.parametrize("kill", [False, True], ids=["steady", "killed"])
@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.long)])
def test_a_mix_of_calls_leaves_no_slot(server: Server, count: int, *, kill: bool) -> None:
    lost: list[str] = []

    def call(_number: int, mixed: Mixed) -> None:
        one = Call(server, mixed.source, mixed.dialled)
        try:
            answer = one.run("AUTHORIZE")
            if mixed.reject:
                assert answer["reason"] == mixed.reject.reason
                return
            _to_vendors(one, mixed)
        except (OSError, AssertionError):
            if not kill:
                raise
            lost.append(one.values["$avp(call)"])  # the connection has ended with the decider

    place(server, mix(count), call, kill=kill)
    assert len(lost) <= 4
    for each in lost:
        ask(server, "stop", call_id=each)
    holds(server, 0)


def _to_vendors(call: Call, mixed: Mixed) -> None:
    """Run the routes of an accepted call, as NEXT_VENDOR and VENDOR_FAILED do."""
    ends = list(mixed.vendors)
    for leg, account in enumerate(VENDORS, 1):
        if not call.run("AUTHORIZE_LEG", account=account, leg=leg)["accepted"]:
            continue
        match ends.pop(0):
            case "answer":
                call.run("ANSWERED")
                call.run("ENDED")
                return
            case "cancel":
                break
        call.run("STOP_LEG")
    assert not ends
    call.run("STOP")
