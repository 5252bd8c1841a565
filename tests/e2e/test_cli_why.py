"""``rejects`` and ``why``: recorded decisions with the accounts of the version that was in use."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.cli import config_with, demo_store, done, run
from support.records import entry, write_segment

from identengine.cli.grid import folded
from identengine.cli.rejects import REJECTS
from identengine.model.records import Decision, Request
from identengine.record.entry import CredentialUse, LimitUse

NOON = time.time() - 3600.0


class Switch:
    """A switch whose rejects are recorded: it decides with ``identify`` and writes the record itself."""

    def __init__(self, folder: Path) -> None:
        self.store = demo_store(folder)
        self.at = time.time()
        self.entries: list[bytes] = []

    def call(self, call_id: str, *fields: str, recorded: dict[str, Any] | None = None, **changed: Any) -> Decision:
        """Decide a call and record its decision."""
        asked: dict[str, Any] = dict(field.split("=", 1) for field in fields)
        said = run("identify", *fields, "--json", store=self.store)
        decision = msgspec.structs.replace(msgspec.convert(said.json, Decision), **changed)
        asked.pop("password", None)
        self.at += 1
        self.entries.append(entry(self.at, Request(call_id=call_id, **asked), decision, **(recorded or {})))
        write_segment(self.store.with_name("store.record"), self.entries)
        return decision

    def why(self, call_id: str, *options: object) -> dict[str, Any]:
        """Return the only decision of a call as ``why`` explains it."""
        (only,) = done("why", call_id, "--json", *options, store=self.store).json["decisions"]
        found: dict[str, Any] = only
        return found

    def rejects(self, *options: object) -> list[str]:
        """Return the ids of the calls that ``rejects`` lists."""
        return [one["call_id"] for one in done("rejects", "--json", *options, store=self.store).json]


@pytest.fixture
def switch(tmp_path: Path) -> Switch:
    return Switch(tmp_path)


REASONS = [
    # id of the call, fields, reason, nearest account, requirement
    ("a", "src_ip=203.0.113.250 dst_number=44", "unknown_source", None, {}),
    ("b", "src_ip=198.51.100.42 dst_number=44 gateway=X1", "gateway_mismatch", 125, "gateways"),
    ("c", "src_ip=198.51.100.41 dst_number=44 protocol=IAX2", "protocol_mismatch", 123, "term_protocol"),
    ("d", "src_ip=198.51.100.40 dst_number=44 src_port=5090", "port_mismatch", 121, "term_port"),
    ("e", "src_ip=198.51.100.31 dst_number=44", "tech_prefix_mismatch", 114, "tech_prefix"),
    ("f", "src_ip=192.0.2.14 dst_number=44", "account_disabled", 107, "orig_enabled"),
    ("g", "name=silverpine dst_number=44", "auth_required", 161, "password"),
    ("h", "src_ip=198.51.100.110 src_number=1 dst_number=44", "src_not_allowed", 181, None),
    ("i", "src_ip=198.51.100.112 src_number=1 dst_number=44", "no_did", 183, None),
]


def test_why_names_the_nearest_account_and_its_requirement_for_each_reason(switch: Switch) -> None:
    for call_id, fields, reason, _, _ in REASONS:
        assert switch.call(call_id, *fields.split()).reason == reason
    for call_id, _, reason, nearest, requires in REASONS:
        found = switch.why(call_id)
        assert (found["decision"]["reason"], found["nearest"], found["version"]) == (reason, nearest, 1)
        required = {one["account_id"]: one.get("requires", {}) for one in found["candidates"]}
        if nearest and requires:
            assert requires in required[nearest], found
        assert found["changed_since"] == []
        assert found["request"].get("call_id") == call_id
        text = done("why", call_id, store=switch.store).out
        assert f"rejected: {reason}" in text
        assert nearest is None or f" {nearest} " in text


def test_why_names_the_field_and_value_of_an_invalid_request(switch: Switch) -> None:
    switch.call("x", "src_ip=192.0.2.10:5060", "dst_number=44")
    found = switch.why("x")
    assert (found["decision"]["field"], found["decision"]["value"]) == ("src_ip", "192.0.2.10:5060")
    assert (found["nearest"], found["candidates"]) == (None, [])
    text = done("why", "x", store=switch.store).out
    assert "an IPv4 or IPv6 address without a port" in text


def test_why_shows_the_dids_of_the_account_for_src_policy(switch: Switch) -> None:
    switch.call("x", "src_ip=198.51.100.110", "src_number=1", "dst_number=44")
    switch.call("y", "src_ip=198.51.100.112", "src_number=1", "dst_number=44")
    done("dids", "add", "number=442079469000-442079469029", "account_id=181", store=switch.store)
    switch.call("z", "src_ip=198.51.100.110", "src_number=1", "dst_number=44")
    before, none, after = switch.why("x")["dids"], switch.why("y")["dids"], switch.why("z")["dids"]
    assert none == {"count": 0, "first": []}
    assert after["count"] == before["count"] + 30
    assert len(after["first"]) == 20
    assert "Account 183 had no active DID." in done("why", "y", store=switch.store).out
    assert f"had {after['count']} active DIDs" in done("why", "z", store=switch.store).out


def test_a_credential_that_verified_counts_for_its_account_alone(switch: Switch) -> None:
    call = ("name=frontdesk", "dst_number=44")
    verified = CredentialUse(("password",), True, 163)
    assert switch.call("x", *call, "password=Waiting-Room-B", recorded={"credential": verified}).account_id == 163
    wrong = CredentialUse(("digest",), False)
    switch.call("y", *call, "password=no", recorded={"credential": wrong})
    found = {one["account_id"]: one["ruled_out_by"] for one in switch.why("x")["candidates"]}
    assert found == {163: None, 162: "bad_password"}
    assert switch.why("x")["credential"] == {"kinds": ["password"], "verified": True, "account_id": 163}
    found = {one["account_id"]: one["ruled_out_by"] for one in switch.why("y")["candidates"]}
    assert found == {163: "bad_password", 162: "bad_password"}
    text = done("why", "x", store=switch.store).out
    assert "verified for account 163" in text
    assert "Waiting-Room" not in text + done("why", "x", "--json", store=switch.store).out


def test_limits_are_those_of_that_moment(switch: Switch) -> None:
    limits = [
        LimitUse("account", 199, "orig_capacity", 2, 2, True),
        LimitUse("client", 20, "capacity", 2, None, False),
        LimitUse("global", None, "global_capacity", 2, 100, False),
    ]
    call = ("src_ip=198.51.100.147", "dst_number=44")
    switch.call(
        "x", *call, accepted=False, reason="account_capacity", recorded={"limits": limits}, sip_code=480, q850=34
    )
    done("accounts", "set", 199, "orig_capacity=9", store=switch.store)
    found = switch.why("x")
    full = {"level": "account", "id": 199, "column": "orig_capacity", "use": 2, "limit": 2, "full": True}
    assert found["limits"][0] == full
    assert [one["full"] for one in found["limits"]] == [True, False, False]
    assert found["nearest"] == 199
    (changed,) = found["changed_since"]
    assert changed["fields"]["orig_capacity"]["after"] == 9
    text = done("why", "x", store=switch.store).out
    row = next(line.split() for line in text.splitlines() if line.startswith("account  199"))
    assert row == ["account", "199", "Ironbridge", "gatehouse", "orig_capacity", "2", "2", "full"]


def test_why_shows_what_has_changed_since_and_who_changed_it(switch: Switch) -> None:
    switch.call("x", "src_ip=198.51.100.31", "dst_number=44")
    done("accounts", "set", 114, "tech_prefix=77", "--who", "anna", store=switch.store)
    done("accounts", "set", 114, "notes=new", "--who", "bert", store=switch.store)
    done("clients", "set", 12, "status=blocked", "--who", "carl", store=switch.store)
    done("dids", "add", "number=442079469000", "account_id=114", "--who", "dora", store=switch.store)
    done("accounts", "set", 101, "notes=other", store=switch.store)
    found = switch.why("x")
    assert found["candidates"][0]["requires"] == {"tech_prefix": ["0011"]}
    by = {
        (one["table"], one["key"], name): (values["who"], values["version"], values["before"], values["after"])
        for one in found["changed_since"]
        for name, values in one["fields"].items()
    }
    assert by["account", 114, "tech_prefix"] == ("anna", 2, "0011", "77")
    assert by["account", 114, "notes"][0] == "bert"
    assert by["client", 12, "status"] == ("carl", 4, "active", "blocked")
    assert by["did", "442079469000", "account_id"][0] == "dora"
    assert {key for _, key, _ in by} == {114, 12, "442079469000"}
    text = done("why", "x", store=switch.store).out
    assert "Changed since version 1:" in text
    assert "anna" in text


def test_a_field_that_returned_to_its_value_is_no_change(switch: Switch) -> None:
    switch.call("x", "src_ip=198.51.100.31", "dst_number=44")
    for prefix in ("77", "0011"):
        done("accounts", "set", 114, f"tech_prefix={prefix}", store=switch.store)
    assert switch.why("x")["changed_since"] == []
    assert "have not changed since" in done("why", "x", store=switch.store).out


def test_the_account_of_the_decision_may_be_removed(switch: Switch) -> None:
    switch.call("x", "src_ip=198.51.100.31", "dst_number=44")
    done("accounts", "remove", 114, "--yes", store=switch.store)
    found = switch.why("x")
    assert (found["nearest"], found["changed_since"][0]["change"]) == (114, "removed")


def test_a_version_that_the_store_does_not_have_is_reported(switch: Switch) -> None:
    switch.call("x", "src_ip=198.51.100.31", "dst_number=44", version=77)
    found = switch.why("x")
    assert (found["candidates"], found["changed_since"], found["nearest"]) == (None, None, None)
    assert "there is no version 77" in found["unreadable"]
    text = done("why", "x", store=switch.store).out
    assert "rejected: tech_prefix_mismatch" in text
    assert "There is no version 77" in text
    assert done("rejects", store=switch.store).out.count("tech_prefix_mismatch") == 1


def test_a_version_that_is_newer_than_the_decision_did_not_make_it(switch: Switch) -> None:
    switch.at -= 3600
    switch.call("x", "src_ip=198.51.100.31", "dst_number=44")
    assert "the store was replaced" in switch.why("x")["unreadable"]


def test_the_options_of_that_time_may_have_been_others(switch: Switch, tmp_path: Path) -> None:
    switch.call("x", "src_ip=198.51.100.40", "dst_number=44", "src_port=5090")
    config = config_with(tmp_path, '[identify]\nmatch_port = "never"\n')
    found = switch.why("x", "--config", config)
    assert found["decision"]["reason"] == "port_mismatch"
    assert found["decision_by_present_options"]["account_id"] == 121
    text = done("why", "x", "--config", config, store=switch.store).out
    assert "By the present options of the config, this version decides otherwise: account 121." in text


def test_why_explains_all_decisions_of_a_call_in_order(switch: Switch) -> None:
    call = ("src_ip=192.0.2.10", "dst_number=77#44")
    assert switch.call("x", *call).accepted
    done("accounts", "disable", 102, store=switch.store)
    switch.call("x", *call)
    done("clients", "set", 1, "status=blocked", store=switch.store)
    switch.call("x", *call)
    decisions = done("why", "x", "--json", store=switch.store).json["decisions"]
    assert [(one["version"], one["nearest"]) for one in decisions] == [(1, 102), (2, 101), (3, 101)]
    assert [one["decision"].get("reason") for one in decisions] == [None, None, "client_blocked"]
    text = done("why", "x", store=switch.store).out
    assert "3 recorded decisions" in text


def test_an_unknown_call_ends_with_1_and_the_possible_reasons(switch: Switch, tmp_path: Path) -> None:
    said = run("why", "x", store=switch.store)
    assert said.status == 1
    assert "no record of decisions" in said.err.lower()
    switch.call("x", "src_ip=198.51.100.31", "dst_number=44")
    said = run("why", "other", "--config", config_with(tmp_path, ""), store=switch.store)
    assert (said.status, said.out) == (1, "")
    for part in ('the call "other"', "The record begins at", "no server at", "Another node"):
        assert part in said.err, part
    config = config_with(tmp_path, '[record]\ndecisions = "none"\n')
    assert '[record] decisions of the config is "none"' in run("why", "other", "--config", config).err


def test_rejects_are_listed_newest_first_with_the_nearest_account(switch: Switch) -> None:
    switch.call("a", "src_ip=192.0.2.10", "dst_number=44")  # accepted
    switch.call("b", "src_ip=198.51.100.31", "src_number=442079460100", "dst_number=44")
    switch.call("c", "src_ip=203.0.113.250", "dst_number=44")
    assert switch.rejects() == ["c", "b"]
    (newest, _) = done("rejects", "--json", store=switch.store).json
    keys = {"at", "switch", "call_id", "leg_id", "direction", "request", "decision", "version"}
    assert keys <= set(newest)
    lines = done("rejects", store=switch.store).out.splitlines()
    assert [title.strip() for title in lines[0].split("  ") if title] == [
        "Time", "Switch", "Call ID", "From", "To", "Reason", "Nearest Account",
    ]  # fmt: skip
    assert "114 Outback Link Sydney" in lines[2]
    assert "198.51.100.31 442079460100" in lines[2]


def test_the_filters_of_rejects(switch: Switch) -> None:
    switch.call("a", "src_ip=198.51.100.31", "src_number=442079460100", "dst_number=44")
    middle = switch.at + 0.5
    switch.call("b", "src_ip=198.51.100.110", "src_number=1", "dst_number=44", recorded={"switch": "sbc2"})
    switch.call("c", "src_ip=203.0.113.250", "dst_number=+44 20")
    assert switch.rejects("--account", 114) == ["a"]
    assert switch.rejects("--account", "Outback Link Sydney") == ["a"]
    assert switch.rejects("--account", "Marigold claims") == ["b"]
    assert switch.rejects("--client", 12) == ["a"]
    assert switch.rejects("--client", 22) == ["b"]
    assert switch.rejects("--client", 1) == []
    assert switch.rejects("--number", "+44 20 7946 0100") == ["a"]
    assert switch.rejects("--number", "4420") == ["c"]
    assert switch.rejects("--address", "198.51.100.0/24") == ["b", "a"]
    assert switch.rejects("--switch", "sbc2") == ["b"]
    assert switch.rejects("--reason", "unknown_source") == ["c"]
    assert switch.rejects("--limit", 1) == ["c"]
    assert switch.rejects("--since", middle) == ["c", "b"]
    assert switch.rejects("--until", middle) == ["a"]
    done("accounts", "remove", 114, "--yes", store=switch.store)
    assert switch.rejects("--account", 114) == ["a"]
    none = run("rejects", "--account", 101, store=switch.store)
    assert (none.status, none.out) == (0, "")
    assert "no reject matches. The record begins at" in none.err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--reason", "unknown_sorce", 'did you mean "unknown_source"'),
        ("--address", "10.0.0.5:5060", "an address without a port"),
        ("--number", "44\t20", "printable ASCII"),
        ("--since", "whenever", "a time such as"),
    ],
)
def test_wrong_values_of_filters(switch: Switch, option: str, value: str, said: str) -> None:
    wrong = run("rejects", option, value, store=switch.store)
    assert wrong.status == 2
    assert said in " ".join(wrong.err.split()).replace("│ ", "")


def test_reading_recorded_requests_is_audited(switch: Switch) -> None:
    switch.call("x", "src_ip=198.51.100.110", "src_number=1", "dst_number=44")
    done("why", "x", "--who", "anna", store=switch.store)
    run("why", "unknown", "--who", "bert", store=switch.store)
    done(
        "rejects",
        "--account",
        "Marigold claims",
        "--address",
        "198.51.100.0/24",
        "--who",
        "carl",
        store=switch.store,
    )
    log = done("audit", "--account", 181, "--json", store=switch.store).json[-2:]
    assert [(one["who"], one["what"]) for one in log] == [
        ("anna", 'call read: "x"'),
        ("carl", 'rejects read: account "Marigold claims", address "198.51.100.0/24"'),
    ]


def test_a_damaged_version_hides_nothing_of_sound_versions(switch: Switch) -> None:
    switch.call("x", "src_ip=198.51.100.31", "dst_number=44")
    done("accounts", "set", 114, "notes=Before-the-damage", store=switch.store)
    switch.call("y", "src_ip=198.51.100.31", "dst_number=44")
    switch.call("z", "src_ip=198.51.100.40", "dst_number=44", "src_port=5090")
    data = switch.store / "data.mdb"
    data.write_bytes(data.read_bytes().replace(b"Before-the-damage", b"Behind-the-damage"))
    found = switch.why("x")
    assert found["candidates"][0]["account_id"] == 114
    assert found["changed_since"] is None
    assert "account 114 as written by version 2 does not match its checksum" in found["unreadable"]
    assert "The changes since then cannot be read." in done("why", "x", store=switch.store).out
    found = switch.why("y")
    assert (found["candidates"], found["decision"]["reason"]) == (None, "tech_prefix_mismatch")
    assert switch.rejects() == ["z", "y", "x"]
    lines = done("rejects", store=switch.store).out.splitlines()[1:]
    assert [line.split()[-1] for line in lines] == ["port_mismatch", "tech_prefix_mismatch", "Sydney"]


def test_the_table_of_rejects_fits_into_80_columns() -> None:
    row = (
        *("2026-12-01 14:03:07", "sbc-london", "3c26a0d2-7bd1-4a5e-9c1e-00000003d08f@sbc.london.example.net"),
        *(
            "2001:db8:1000:2000::5 442079460100",
            "77#442079460123",
            "tech_prefix_mismatch",
            "114 Outback Link Sydney",
        ),
    )
    lines = list(folded(REJECTS, [row], 80) or ())
    assert lines
    assert max(map(len, lines)) <= 80
    words = "".join(lines)
    assert all(part in words for part in ("2026-12-01", "14:03:07", "mismatch", "Outback", "example.net"))
