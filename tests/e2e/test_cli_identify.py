"""``identengine identify`` and ``explain``: decisions in process, equal to those of the server."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import config_with, demo_store, done, run


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return demo_store(tmp_path)


def test_identify(store: Path) -> None:
    said = done("identify", "src_ip=192.0.2.10", "dst_number=77#442079460123", store=store)
    facts = dict(line.split(maxsplit=1) for line in said.out.splitlines()[1:])
    assert said.out.startswith("accepted\n")
    assert (facts["account_id"], facts["dst_number"], facts["rate_table"]) == ("102", "442079460123", "NW-Premium")
    rejected = run("identify", "src_ip=203.0.113.250", "dst_number=44", store=store)
    assert rejected.status == 1
    assert rejected.out.startswith("rejected: unknown_source\n")
    assert rejected.err == ""


def test_explain_shows_every_candidate(store: Path) -> None:
    said = done("explain", "src_ip=192.0.2.10", "dst_number=99#44", store=store)
    table = said.out.splitlines()[-5:]
    assert [(line.split()[0], line.split()[-1]) for line in table] == [
        ("101", "(found)"),
        ("102", "tech_prefix_mismatch"),
        ("103", "gateway_mismatch"),
        ("104", "rank"),
        ("105", "tech_prefix_mismatch"),
    ]
    explained = done("explain", "src_ip=192.0.2.10", "dst_number=99#44", "--json", store=store).json
    assert explained["decision"]["account_id"] == 101
    assert [one["account_id"] for one in explained["candidates"] if one.get("ruled_out_by") is None] == [101]
    nobody = run("explain", "src_ip=203.0.113.250", "dst_number=44", store=store)
    assert nobody.status == 1
    assert "No account of the book matches this request." in nobody.out


def test_passwords_and_digests(store: Path) -> None:
    call = ("identify", "name=silverpine", "dst_number=44", "--json")
    assert run(*call, store=store).json["reason"] == "auth_required"
    assert run(*call, "password=wrong", store=store).json["reason"] == "bad_password"
    assert run(*call, "password=resin&needles-3", store=store).json["account_id"] == 161
    digest = ("digest.username=silverpine", "digest.realm=x", "digest.nonce=n", "digest.response=0")
    assert run("identify", *digest, "dst_number=44", "--json", store=store).json["reason"] == "bad_password"


def test_a_missing_key_is_reported_instead_of_an_internal_error(store: Path) -> None:
    store.with_name("store.key").unlink()
    said = run("identify", "name=silverpine", "password=x", "dst_number=44", store=store)
    assert said.status == 1
    assert "key" in said.err
    assert "internal_error" not in said.out
    assert run("identify", "src_ip=192.0.2.10", "dst_number=44", store=store).status == 0


def test_options_and_codes_come_from_the_config(store: Path, tmp_path: Path) -> None:
    call = ("identify", "src_ip=198.51.100.50", "dst_number=44", "--json")
    assert run(*call, store=store).json["ambiguous"] is True
    config = config_with(tmp_path, "[identify]\nstrict_ambiguity = true\n[reasons.ambiguous]\nsip_code = 480\n")
    strict = run(*call, "--config", config).json
    assert (strict["reason"], strict["sip_code"]) == ("ambiguous", 480)


def test_an_earlier_version(store: Path) -> None:
    done("accounts", "disable", 101, store=store)
    call = ("identify", "src_ip=192.0.2.10", "dst_number=44", "--json")
    assert run(*call, store=store).json["reason"] == "account_disabled"
    assert run(*call, "--version", 1, store=store).json["account_id"] == 101


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("src_pi=1.2.3.4", 'did you mean "src_ip"?'),
        ("digest.relm=x", 'did you mean "digest.realm"?'),
        ("192.0.2.1", "FIELD=VALUE"),
        ("dst_number=2", "dst_number: expected once, got a second value"),
    ],
)
def test_wrong_fields_are_wrong_usage(store: Path, field: str, said: str) -> None:
    result = run("identify", "dst_number=1", field, store=store, env={"COLUMNS": "200"})
    assert result.status == 2
    assert said in result.err


def test_an_unusable_value_is_a_reject(store: Path) -> None:
    said = run("identify", "src_ip=192.0.2.10:5060", "dst_number=44", "--json", store=store)
    assert said.status == 1
    assert (said.json["reason"], said.json["field"]) == ("invalid_request", "src_ip")


@pytest.mark.parametrize("command", ["identify", "explain"])
@pytest.mark.parametrize(
    ("field", "usable"),
    [
        ("direction=term", 'expected             "origination" or "termination"'),
        ("src_ip=192.0.2.10:5060", "expected             an IPv4 or IPv6 address without a port"),
        ("src_port=99999", "expected             an integer from 1 to 65535"),
        ("dst_number=ä", "expected             dst_number: a telephone number"),
    ],
)
def test_an_unusable_value_is_printed_with_the_expected_values(
    store: Path, command: str, field: str, usable: str
) -> None:
    number = () if field.startswith("dst_number") else ("dst_number=44",)
    result = run(command, field, *number, store=store)
    assert result.status == 1
    (line,) = (line for line in result.out.splitlines() if line.startswith("expected "))
    assert line.split() == usable.split()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (("account_id=213", "direction=termination", "dst_number=44"), "Account 213 was found by its id"),
        (("account_id=101", "direction=termination", "dst_number=44"), "The terminator part of the account"),
        (
            ("account_id=999", "direction=termination", "dst_number=44"),
            "No account of the book matches this request.",
        ),
        (("src_ip=10.0.0.5:5060", "dst_number=44"), 'The request is invalid: src_ip "10.0.0.5:5060"'),
        (("src_ip=192.0.2.10", "dst_number=4é4"), "The request is invalid: dst_number is not a number"),
    ],
)
def test_an_explanation_without_candidates_says_why(store: Path, fields: tuple[str, ...], said: str) -> None:
    assert said in run("explain", *fields, store=store).out
