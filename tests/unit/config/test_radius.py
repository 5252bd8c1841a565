"""The secret of a switch and its table [switch.radius] (interfaces.md 5, "Config of RADIUS")."""

from __future__ import annotations

import pytest
from unit.config.parsing import SWITCH, parsed, problems

RADIUS = SWITCH + "secret = 'x'\n[switch.radius]\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            SWITCH + "limit_proxy_state = true",
            '[[switch]] "a" limit_proxy_state: this key has moved. Set it in [switch.radius], a table of its own',
        ),
        (
            SWITCH + r'secret = "x\n"',
            '[[switch]] "a" secret: expected a secret without blanks or line ends around it. Remove them here.',
        ),
        (
            SWITCH + "secret = 'x'\n" + SWITCH.replace('"a"', '"b"') + "secret = 'x'",
            '[[switch]] "b" addresses: 127.0.0.1 is also an address of "a". Give each of the two its own secret,',
        ),
        (
            SWITCH.replace("127.0.0.1", "192.0.2.1") + "secret = 'x'",
            '[[switch]] "a" secret: 192.0.2.1 is not loopback, and an Access-Request without Message-Auth',
        ),
        (
            SWITCH.replace("127.0.0.1", "192.0.2.1") + "secret = 'x'\ntoken = 'y'",
            '[[switch]] "a" secret: 192.0.2.1 is not loopback, and an Access-Request without Message-Auth',
        ),
        (
            SWITCH + "[switch.radius]\nlimit_proxy_state = true",
            '[[switch]] "a" secret: this key is required, since the switch has a table [switch.radius]',
        ),
        (
            RADIUS + "limit_proxy_state = 1",
            '[[switch]] "a" [switch.radius] limit_proxy_state: expected true or false without quotes, got 1',
        ),
        (
            RADIUS + "require_message_authenticator = 'yes'",
            '[[switch]] "a" [switch.radius] require_message_authenticator: expected "auto", true or false, got "y',
        ),
        (RADIUS + "ignore_password = 5", '[[switch]] "a" [switch.radius] ignore_password: expected a string or {'),
        (RADIUS + "replies = []", '[[switch]] "a" [switch.radius] replies: no such key; did you mean "reply"?'),
        (RADIUS + "reply = []", '[switch.radius] reply: expected "cisco", "sip_avp" or both, got an empty list'),
        (RADIUS + "reply = ['sip']", '[switch.radius] reply: expected "cisco" or "sip_avp", got "sip"'),
        (
            RADIUS + "map = 5",
            '[[switch]] "a" [switch.radius] map: expected a table of fields, each with a list of',
        ),
        (
            RADIUS + "map = { callid = [44] }",
            '[[switch]] "a" [switch.radius] map: callid: expected "call_id", "leg',
        ),
        (RADIUS + "map = { callid = [44] }", 'or "interval", got "callid"; did you mean "call_id"?'),
        (
            RADIUS + "map = { call_id = 44 }",
            '[[switch]] "a" [switch.radius] map: call_id: expected a list in [ ],',
        ),
        (
            RADIUS + "map = { call_id = ['Cisco-AVPear:call-id'] }",
            'got "Cisco-AVPear:call-id"; did you mean "Cisco-AVPair"?',
        ),
        (
            RADIUS + "map = { call_id = [0] }",
            "[switch.radius] map: call_id: expected an attribute (a name, 44",
        ),
        (
            RADIUS + "map = { call_id = [true] }",
            "[switch.radius] map: call_id: expected an attribute (a name, 4",
        ),
        (
            RADIUS + "map = { call_id = [26] }",
            'map: call_id: expected an attribute (a name, 44, "9/24" or "Cisco-',
        ),
        (
            RADIUS + "map = { src_ip = ['NAS-IP-Address'] }",
            "map: src_ip: expected an attribute of the caller, not the address of the switch, got",
        ),
        (
            RADIUS + "map = { call_id = ['0/4'] }",
            'map: call_id: expected an attribute (a name, 44, "9/24" or "Cisco-',
        ),
        (
            RADIUS + "map = { call_id = ['9/1:'] }",
            "map: call_id: expected the name of a pair after the colon, got",
        ),
        (RADIUS + "map = { name = [1, 1] }", "[switch.radius] map: name: 1 is in the list twice"),
    ],
)
def test_one_mistake(text: str, problem: str) -> None:
    found = problems(text)
    assert len(found) == 1, found
    assert problem in found[0]


def test_every_mistake_of_a_map() -> None:
    (found,) = problems(RADIUS + "map = { call_id = [0], callid = [1], name = ['x'] }")
    assert found.count("expected") == 3


def test_off_loopback_with_a_secret() -> None:
    away = SWITCH.replace("127.0.0.1", "192.0.2.1") + "secret = 'x'\n"
    for proof in ("trusted_network = true", "[switch.radius]\nrequire_message_authenticator = true"):
        (switch,) = parsed(away + proof).switches
        assert not switch.is_plain


def test_switches_at_one_address_with_different_proofs() -> None:
    others = [SWITCH.replace('"a"', f'"{name}"') for name in "bcd"]
    proofs = ["secret = 'x'\n", "secret = 'y'\n", "token = 'x'\n"]
    text = SWITCH + "".join(other + proof for other, proof in zip(others, proofs, strict=True))
    assert [switch.name for switch in parsed(text).switches] == ["a", "b", "c", "d"]


def test_a_map_of_attributes() -> None:
    written = "call_id = ['cisco-avpair:call-id', 44, '9/24'], name = ['user-name', '14988/1:login', '61:a:b']"
    (switch,) = parsed(RADIUS + f"map = {{ {written} }}").switches
    found = {
        field: [(one.vendor, one.type, one.pair) for one in those] for field, those in switch.radius.map.items()
    }
    assert found == {
        "call_id": [(9, 1, "call-id"), (0, 44, None), (9, 24, None)],
        "name": [(0, 1, None), (14988, 1, "login"), (0, 61, "a:b")],
    }


@pytest.mark.parametrize("key", ["secret", "token", "certificate"])
def test_an_unusable_proof_is_one_mistake(key: str) -> None:
    text = SWITCH.replace("127.0.0.1", "192.0.2.1") + f"{key} = 7"
    assert [one for one in problems(text) if "loopback" in one] == []
    assert any(f'[[switch]] "a" {key}: ' in one for one in problems(text))
