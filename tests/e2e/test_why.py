"""``why`` and ``rejects`` with a real server: each reason of a reject, accepted calls, and calls that are held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cli import demo_store, done, run
from support.server import Server, serving
from support.waiting import wait_for

CONFIG = """
[calls]
path = "calls"
max_legs = 1000
global_capacity = 8
[identify]
strict_ambiguity = true
[record]
decisions = "all"
"""
LIMIT = {"dst_number": "44171"}
CALLS: list[tuple[str, dict[str, object], str | None, int | None]] = [
    # id of the call, fields, reason, nearest account
    ("unknown", {"src_ip": "203.0.113.250"}, "unknown_source", None),
    ("gateway", {"src_ip": "198.51.100.42", "gateway": "X1"}, "gateway_mismatch", 125),
    ("protocol", {"src_ip": "198.51.100.41", "protocol": "IAX2"}, "protocol_mismatch", 123),
    ("port", {"src_ip": "198.51.100.40", "src_port": 5090}, "port_mismatch", 121),
    ("prefix", {"src_ip": "198.51.100.31"}, "tech_prefix_mismatch", 114),
    ("tie", {"src_ip": "198.51.100.50"}, "ambiguous", 131),
    ("auth", {"name": "silverpine"}, "auth_required", 161),
    ("password", {"name": "silverpine", "password": "no-Such-password"}, "bad_password", 161),
    ("disabled", {"src_ip": "192.0.2.14"}, "account_disabled", 107),
    ("blocked", {"src_ip": "198.51.100.80"}, "client_blocked", 143),
    ("policy", {"src_ip": "198.51.100.110", "src_number": "1"}, "src_not_allowed", 181),
    ("no_did", {"src_ip": "198.51.100.112", "src_number": "1"}, "no_did", 183),
    ("destination", {"src_ip": "192.0.2.10", "dst_number": "44\t1"}, "invalid_destination", None),
    ("invalid", {"src_ip": "192.0.2.10:5060"}, "invalid_request", None),
    ("vendor", {"account_id": 101, "direction": "termination"}, "account_disabled", 101),
    ("account_1", {"src_ip": "198.51.100.147"}, None, 199),
    ("account_2", {"src_ip": "198.51.100.147"}, None, 199),
    ("account_3", {"src_ip": "198.51.100.147"}, "account_capacity", 199),
    ("client", {"src_ip": "198.51.100.43", "dst_number": "2024#1", "src_port": 5061, "protocol": "sip"}
     | {"gateway": "NYC-GW1"}, "client_capacity", 127),
    ("reseller", {"src_ip": "198.51.100.81"}, "reseller_capacity", 144),
    ("cps_1", {"src_ip": "192.0.2.11"}, None, 106),
    ("cps_2", {"src_ip": "192.0.2.11"}, "cps_exceeded", 106),
    ("digest", {"name": "frontdesk", "password": "Waiting-Room-B"}, None, 163),
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("why")
    store = demo_store(folder)
    done("clients", "set", 17, "capacity=0", store=store)
    done("clients", "set", 3, "status=blocked", store=store)
    done("clients", "set", 4, "parent_id=20", store=store)
    done("clients", "set", 20, "orig_capacity=2", store=store)
    done("accounts", "set", 106, "orig_cps=1", store=store)
    with serving(folder, CONFIG) as running:
        for call_id, fields, reason, _ in CALLS:
            answer = running.authorize(call_id=call_id, **(LIMIT | fields))
            assert answer.get("reason") == reason, answer
        wait_for(lambda: len(rejects(running)) == sum(reason is not None for _, _, reason, _ in CALLS))
        yield running


def rejects(server: Server, *options: object) -> list[dict[str, Any]]:
    said = run("rejects", "--json", *options, "--config", server.config)
    found: list[dict[str, Any]] = said.json if said.status == 0 else []
    return found


def why(server: Server, call_id: str) -> dict[str, Any]:
    (found,) = done("why", call_id, "--json", "--config", server.config).json["decisions"]
    decision: dict[str, Any] = found
    return decision


def test_why_explains_each_reason(server: Server) -> None:
    for call_id, _, reason, nearest in CALLS:
        found = why(server, call_id)
        assert (found["decision"].get("reason"), found["nearest"]) == (reason, nearest), found
        assert found["version"] == 6
        assert found["changed_since"] == []
        assert "decision_by_present_options" not in found, found
    for call_id, secret in (("password", "no-Such-password"), ("digest", "Waiting-Room")):
        text = done("why", call_id, "--config", server.config).out
        assert secret not in text
        assert "password" in text


def test_limits_are_shown_with_their_use_at_that_moment(server: Server) -> None:
    full = {
        "account_3": ("account", 199, "orig_capacity", 2, 2),
        "client": ("client", 17, "capacity", 0, 0),
        "reseller": ("reseller", 20, "orig_capacity", 2, 2),
    }
    for call_id, expected in full.items():
        limits = why(server, call_id)["limits"]
        found = [
            tuple(one[key] for key in ("level", "id", "column", "use", "limit")) for one in limits if one["full"]
        ]
        assert expected in found, limits
    assert any(one["column"] == "orig_cps" and one["full"] for one in why(server, "cps_2")["limits"])
    text = done("why", "reseller", "--config", server.config).out
    assert "Limits at that moment:" in text


def test_a_call_that_is_held_is_shown_with_its_decision(server: Server) -> None:
    found = done("why", "account_1", "--json", "--config", server.config).json
    (leg,) = found["held"]
    assert (leg["account_id"], leg["state"], leg["call_id"]) == (199, "reserved", "account_1")
    assert found["decisions"][0]["decision"]["accepted"] is True
    assert "The server holds this call:" in done("why", "account_1", "--config", server.config).out


def test_a_held_call_without_a_record_shows_what_the_server_knows(server: Server, tmp_path: Path) -> None:
    without = tmp_path / "without.toml"
    path = 'decisions = "rejects"\npath = "/nonexistent/record"'
    text = server.config.read_text().replace('decisions = "all"', path)
    without.write_text(text.replace('path = "store"', f'path = "{server.store}"')
                       .replace('path = "calls"', f'path = "{server.folder / "calls"}"'))  # fmt: skip
    found = done("why", "account_1", "--json", "--config", without).json
    assert (found["decisions"], found["held"][0]["account_id"]) == ([], 199)
    text = done("why", "account_1", "--config", without).out
    assert "199 Ironbridge gatehouse" in text
    assert 'Its decision is not recorded, since [record] decisions is "rejects".' in text
    unknown = run("why", "nothing", "--config", without)
    assert unknown.status == 1
    assert "The server does not hold the call." in unknown.err


def test_rejects_select_near_misses_by_account(server: Server) -> None:
    ids = [one["call_id"] for one in rejects(server)]
    assert ids == [call_id for call_id, _, reason, _ in CALLS if reason][::-1]
    assert [one["call_id"] for one in rejects(server, "--account", 114)] == ["prefix"]
    assert [one["call_id"] for one in rejects(server, "--reason", "cps_exceeded")] == ["cps_2"]
    lines = done("rejects", "--config", server.config).out.splitlines()[1:]
    assert [line.rsplit("  ", 1)[-1].split()[0] for line in lines if " prefix " in line] == ["114"]
