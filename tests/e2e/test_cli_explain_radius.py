"""``identengine explain --radius FILE``: what is read out of a packet, and the decision."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
from support.cli import config_with, demo_store, done, run
from support.programs import program

from identengine.wire.radius.authenticators import SharedSecret
from identengine.wire.radius.digest import digest_of
from identengine.wire.radius.notation import SECRET, parse
from identengine.wire.radius.packet import MESSAGE_AUTHENTICATOR, Packet, decode
from identengine.wire.radius.passwords import CHAP_PASSWORD, USER_PASSWORD, revealed

CALL = """\
# a call of account 101
User-Name = "192.0.2.10"
NAS-IP-Address = 192.0.2.99
Called-Station-Id = "99#442079460123", Calling-Station-Id = "442070001"
h323-conf-id = "h323-conf-id=1 2 3 4"
Cisco-AVPair = "h323-session-protocol=sipv2"
Acct-Session-Id = "other"
"""
NAMED = 'User-Name = "silverpine"\nCalled-Station-Id = "44"\n'
SWITCH = '[[switch]]\nname = "{name}"\naddresses = ["{address}"]\nsecret = "9f3b1c77d0a4e852"\n[switch.radius]\n'


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return demo_store(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "packet.txt"
    path.write_text(CALL)
    return path


def test_each_field_with_its_attribute_and_the_decision(store: Path, file: Path) -> None:
    said = done("explain", "--radius", file, store=store)
    assert said.out.startswith("Access-Request: authorize, by the standard mapping\n")
    rows = [line.split() for line in said.out.splitlines()[3:9]]
    assert rows == [
        ["src_ip", "192.0.2.10", "User-Name", "2"],
        ["name", "192.0.2.10", "User-Name", "2"],
        ["dst_number", "99#442079460123", "Called-Station-Id", "4"],
        ["src_number", "442070001", "Calling-Station-Id", "4"],
        ["call_id", "1", "2", "3", "4", "h323-conf-id", "5"],
        ["protocol", "sipv2", "Cisco-AVPair:h323-session-protocol", "6"],
    ]
    assert "Not used: NAS-IP-Address (line 3), Acct-Session-Id (line 7)\n" in said.out
    assert "\naccepted\naccount_id " in said.out
    assert said.out.splitlines()[-5].split()[-1] == "(found)"


def test_json(store: Path, file: Path) -> None:
    found = done("explain", "--radius", file, "--json", store=store).json
    assert (found["packet"], found["method"], found["switch"]) == ("Access-Request", "authorize", None)
    assert found["fields"]["src_ip"] == {"value": "192.0.2.10", "attribute": "User-Name", "line": 2}
    assert found["fields"]["protocol"]["attribute"] == "Cisco-AVPair:h323-session-protocol"
    assert found["unused"] == [
        {"attribute": "NAS-IP-Address", "line": 3},
        {"attribute": "Acct-Session-Id", "line": 7},
    ]
    assert found["decision"]["account_id"] == 101
    by_fields = done("explain", "src_ip=192.0.2.10", "dst_number=99#442079460123", "--json", store=store).json
    assert [one["account_id"] for one in found["candidates"]] == [
        one["account_id"] for one in by_fields["candidates"]
    ]


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [
        ("", "auth_required"),
        ('User-Password = "resin&needles-3"', None),
        ('User-Password = "wrong"', "bad_password"),
        ('CHAP-Password = "resin&needles-3"', None),
        ('CHAP-Password = "resin&needles-3"\nCHAP-Challenge = 0x01', None),
        ('CHAP-Password = "wrong"', "bad_password"),
        ('Digest-Username = "silverpine"\nDigest-Response = "hush"', "bad_password"),
        ('Digest-Attributes = 0x0a0c73696c76657270696e65\nDraft-Digest-Response = "hush"', "bad_password"),
    ],
)
def test_passwords_are_verified_and_not_printed(
    store: Path, file: Path, credentials: str, reason: str | None
) -> None:
    file.write_text(NAMED + credentials)
    said = run("explain", "--radius", file, store=store)
    assert said.out.splitlines()[said.out.splitlines().index("") :]
    result = run("explain", "--radius", file, "--json", store=store)
    assert result.json["decision"].get("reason") == reason
    assert (said.status, result.status) == ((0, 0) if reason is None else (1, 1))
    for printed in (said.out, result.out):
        assert not any(secret in printed for secret in ("resin", "wrong", "hush"))
    assert result.json["unused"] == []
    if "Digest" in credentials:
        assert result.json["fields"]["digest.username"]["value"] == "silverpine"
        assert result.json["fields"]["digest.response"]["value"] is None
    elif credentials:
        name = "chap" if "CHAP" in credentials else "password"
        assert result.json["fields"][name]["value"] is None
        assert "(secret)" in said.out


@pytest.mark.parametrize(
    ("status", "method", "effect"),
    [
        ("Start", "start", "The leg becomes active."),
        ("Alive", "update", "The leg is held for longer."),
        ("Stop", "stop", "The legs of this call are freed."),
        ("Failed", "stop", "The legs of this call are freed."),
        ("Accounting-On", "switch_up", "All older legs of the switch are freed."),
        ("Accounting-Off", "switch_down", "All older legs of the switch are freed."),
        ("9", None, "An Acct-Status-Type of this value changes nothing."),
    ],
)
def test_accounting_has_an_effect_and_no_candidates(
    store: Path, file: Path, status: str, method: str | None, effect: str
) -> None:
    file.write_text(f'Acct-Status-Type = {status}\nAcct-Session-Id = "1@host"\nh323-call-origin = originate\n')
    said = done("explain", "--radius", file, store=store)
    assert said.out.startswith(f"Accounting-Request: {method or 'no method'}, by the standard mapping\n")
    assert effect in said.out
    found = done("explain", "--radius", file, "--json", store=store).json
    assert (found["method"], found["decision"]) == (method, None)
    if method in ("start", "update", "stop"):
        assert found["fields"]["call_id"] == {"value": "1@host", "attribute": "Acct-Session-Id", "line": 2}
        assert found["fields"]["direction"]["value"] == "termination"
        assert found["unused"] == []


@pytest.mark.parametrize("call_id", ["", 'Acct-Session-Id = " "\n'], ids=["absent", "blank"])
def test_accounting_without_a_call_id_changes_nothing(store: Path, file: Path, call_id: str) -> None:
    file.write_text(f"Acct-Status-Type = Stop\n{call_id}")
    assert "No attribute is the call id" in done("explain", "--radius", file, store=store).out


def test_the_mapping_of_a_switch(store: Path, tmp_path: Path, file: Path) -> None:
    mapped = (
        SWITCH.format(name="mapped", address="127.0.1.1") + "map = { src_ip = ['Framed-IP-Address'] }\n"
        "ignore_password = 'cisco'\n"
    )
    file.write_text(CALL + 'User-Password = "cisco"\nFramed-IP-Address = 192.0.2.99\n')
    alone = config_with(tmp_path, mapped)
    for options in ((), ("--switch", "mapped")):
        found = run("explain", "--radius", file, "--config", alone, "--json", *options).json
        assert found["switch"] == "mapped"
        assert found["fields"]["src_ip"] == {"value": "192.0.2.99", "attribute": "Framed-IP-Address", "line": 9}
        assert found["fields"]["password"]["ignored"] is True
        assert found["decision"]["reason"] == "tech_prefix_mismatch"
    said = run("explain", "--radius", file, "--config", alone)
    assert 'by the mapping of switch "mapped"' in said.out
    assert "(ignored: ignore_password)" in said.out
    both = config_with(tmp_path, mapped + SWITCH.format(name="plain", address="127.0.1.2"))
    differ = run("explain", "--radius", file, "--config", both, env={"COLUMNS": "200"})
    assert differ.status == 2
    assert 'expected "mapped" or "plain", since their options differ' in differ.err
    plain = run("explain", "--radius", file, "--config", both, "--switch", "plain", "--json").json
    assert plain["fields"]["src_ip"]["value"] == "192.0.2.10"
    wrong = run("explain", "--radius", file, "--config", both, "--switch", "plane", env={"COLUMNS": "200"})
    assert wrong.status == 2
    assert 'expected "mapped" or "plain", got "plane"; did you mean "plain"?' in wrong.err


def test_fields_by_the_options_of_a_switch(store: Path, tmp_path: Path) -> None:
    text = '[[switch]]\nname = "a"\naddresses = ["127.0.1.1"]\nmatch_protocol = "never"\n'
    config = config_with(tmp_path, text)
    call = ("explain", "src_ip=192.0.2.10", "dst_number=99#44", "--config", config, "--json")
    ranks = [
        [one["rank"]["protocol"] for one in run(*call, *options).json["candidates"]]
        for options in ((), ("--switch", "a"))
    ]
    assert len(ranks[0]) == len(ranks[1])
    assert not any(ranks[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'User-Name = "a"\nUser-Nmae = "b"\n',
            'line 2: expected the name of an attribute, got "User-Nmae"; did you',
        ),
        ("User-Name\n", 'line 1: expected Name = value, got "User-Name"'),
        ("", "line 1: expected an attribute, got none"),
        ("Packet-Type = Accounting-Request\nUser-Name = a\n", ": expected an Acct-Status-Type"),
    ],
)
def test_mistakes_name_the_file_and_the_line(store: Path, file: Path, text: str, message: str) -> None:
    file.write_text(text)
    said = run("explain", "--radius", file, store=store)
    assert said.status == 1
    assert said.out == ""
    assert said.err.startswith(f"{file}{message}" if message.startswith(":") else f"{file} {message}")


def test_wrong_usage(store: Path, file: Path) -> None:
    for words, message in (
        ((), "expected fields, or --radius FILE"),
        (("--radius", file, "src_ip=192.0.2.10"), "expected no fields and no --ask-password with a file"),
        (("--radius", file, "--ask-password"), "expected no fields and no --ask-password with a file"),
        (("--radius", file, "--switch", "a"), 'expected a config with switches (--config FILE), got "a"'),
    ):
        said = run("explain", *words, store=store, env={"COLUMNS": "200"})
        assert said.status == 2
        assert message in said.err
    missing = run("explain", "--radius", file.with_name("missing"), store=store)
    assert missing.status == 1
    assert f"{file.with_name('missing')}: No such file or directory" in missing.err


RADCLIENT = r"""
# a comment, and a blank line

User-Name = "it's \"quoted\" \\ \q \x41 \101\tx", NAS-Port = 0x10
	Acct-Session-Id = 0x616263,
Calling-Station-Id += 'one \' two' # comment
Filter-Id=a#b
NAS-Identifier = bare
Reply-Message := "Größe, # and more"
h323-remote-address = "h323-remote-address=192.0.2.1"
Cisco-AVPair = "call-id=1@host", Cisco-AVPair = "xpgk-source-port=5060"
NAS-IP-Address = 10.0.0.1
NAS-IPv6-Address = 2001:db8::1
NAS-Port-Type = Virtual
Event-Timestamp = "Nov 30 2026 20:00:00 UTC"
Class = 0x616263
State = 0x00ff
Proxy-State = 0x0a
Attr-26.9.24 = 0x31203220
Attr-26.311.1 = 0x01
Attr-200 = 0x0102
"""


@pytest.mark.parametrize(
    "more",
    [
        'User-Password = "a password of more than 16 bytes"\n',
        'CHAP-Password = "hush"\nCHAP-Challenge = 0x0102\n',
        'Digest-Realm = "r", Digest-Nonce = "n", Digest-User-Name = "bob"\nDigest-Response = "0"\n',
        "Acct-Status-Type = Interim-Update\n",
    ],
    ids=["pap", "chap", "digest", "accounting"],
)
def test_radclient_sends_the_same_packet(file: Path, more: str) -> None:
    file.write_text(RADCLIENT + more)
    written = parse(file.read_text()).packet
    sent = sent_by_radclient(file, "acct" if "Acct-Status-Type" in more else "auth")
    assert sent.code == written.code
    special = {MESSAGE_AUTHENTICATOR, USER_PASSWORD, CHAP_PASSWORD, *range(103, 123), 206, 207}
    for packet in (sent, written):
        assert packet.attributes
    plain = [[one for one in packet.attributes if one[0] not in special] for packet in (sent, written)]
    assert plain[0] == plain[1]
    passwords = [
        [
            revealed(value, secret, packet.authenticator)
            for kind, value in packet.attributes
            if kind == USER_PASSWORD
        ]
        for packet, secret in ((sent, SharedSecret(b"testing123")), (written, SECRET))
    ]
    assert passwords[0] == passwords[1]
    assert digest_of(sent) == digest_of(written)
    responses = [
        [len(value) for kind, value in packet.attributes if kind == CHAP_PASSWORD] for packet in (sent, written)
    ]
    assert responses[0] == responses[1]


def sent_by_radclient(file: Path, kind: str) -> Packet:
    """Return the packet that radclient sends for a file."""
    radclient = program("radclient", "freeradius-utils")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(10)
        server = f"127.0.0.1:{listener.getsockname()[1]}"
        command = [radclient, "-r", "1", "-t", "1", "-f", str(file), server, kind, "testing123"]
        subprocess.run(command, check=False, capture_output=True, timeout=30)
        return decode(listener.recv(4096))
