"""Warnings about a config that is easy to attack."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.otheruser import shared_folder

from identengine.config.load import load
from identengine.config.sections import from_values

GOOD = "9f3b1c77d0a4e852"


def warned(**values: object) -> list[str]:
    return [one for one in from_values(values, None).warnings if "not served" not in one]


def switch(name: str = "sbc", addresses: tuple[str, ...] = ("192.0.2.1",), **keys: object) -> dict[str, object]:
    return {"name": name, "addresses": list(addresses), **keys}


@pytest.mark.parametrize(
    "token",
    [
        "Xq7_",
        "9f3b1c77d0a4e85",
        "ababababababababab",
        "aaaaabbbbbAAAAABBBBB",
        "9f3b1c77Changeme85",
        "9f3b1c77d0a4-SBC1-e85",
    ],
)
def test_weak_tokens(token: str) -> None:
    (found,) = warned(switch=[switch("sbc1", token=token)])
    assert found.startswith(
        'token: a program can guess the token of [[switch]] "sbc1". Use at least 16 characters, 6 '
    )
    assert token not in found


RADIUS = {"radius_auth": ["127.0.0.1:1812"]}


@pytest.mark.parametrize(
    "secret", ["testing123", "cisco", "eltex", "9f3b1c77d0a4-testing123", "ababababababababab"]
)
def test_weak_secrets(secret: str) -> None:
    (found,) = warned(switch=[switch("gw", ("127.0.0.1",), secret=secret)], listen=RADIUS)
    assert found.startswith(
        'secret: with one RADIUS packet, a program can guess the secret of [[switch]] "gw". Use at least 16 '
    )
    assert secret not in found


def test_a_secret_of_two_switches() -> None:
    both = [switch(name, (f"127.0.0.{name}",), secret=GOOD) for name in "12"]
    (found,) = warned(switch=both, listen=RADIUS)
    assert found == (
        '[[switch]] secret: "1" and "2" have the same secret, so each can act as the other and read its '
        "passwords. Give each its own secret."
    )


def test_radius_that_no_switch_can_use() -> None:
    acct = {"radius_acct": ["127.0.0.1:1813"]}
    (found,) = warned(listen=RADIUS | acct)
    assert found.startswith("[listen] radius_auth and radius_acct: no [[switch]] has a secret, so every RADIUS ")
    one = [switch("gw", ("127.0.0.1",), secret=GOOD)]
    assert warned(switch=one, listen=RADIUS) == warned(switch=one, listen=acct) == []
    (found,) = warned(switch=one)
    assert found.startswith(
        "secret: [listen] has neither radius_auth nor radius_acct, so the secret of [[switch]] "
    )


def test_a_secret_in_a_trusted_network() -> None:
    trusted = switch("gw", ("10.0.0.0/8",), secret=GOOD, trusted_network=True)
    (found,) = warned(switch=[trusted], listen=RADIUS)
    assert found.startswith('[[switch]] "gw" trusted_network: every host of 10.0.0.0/8 can act as this switch.')
    required = trusted | {"radius": {"require_message_authenticator": True}}
    (found,) = warned(switch=[required], listen=RADIUS)
    assert found.startswith('[[switch]] "gw" trusted_network: it has no effect')


def test_tokens_that_are_not_weak() -> None:
    assert warned(switch=[switch(token=GOOD), switch("two", ("192.0.2.2",), token="p9Kq" * 3 + "Zr7w")]) == []


def test_weak_tokens_are_one_warning() -> None:
    switches = [switch(f"s{number}", (f"192.0.2.{number}",), token=f"t{number}") for number in range(20)]
    (found,) = warned(switch=switches, token=[{"name": "noc", "role": "read", "token": "abc"}])
    assert '[[switch]] "s4" and 16 more. Use' in found


def test_a_token_of_two_switches() -> None:
    (found,) = warned(switch=[switch("a", token=GOOD), switch("b", ("192.0.2.2",), token=GOOD)])
    assert found == (
        '[[switch]] token: "a" and "b" have the same token, so each can act as the other. Give each its own token.'
    )


@pytest.mark.parametrize(
    ("network", "wide"),
    [("0.0.0.0/0", True), ("10.0.0.0/8", True), ("10.1.0.0/16", False), ("::/0", True), ("2001:db8::/48", False)],
)
def test_wide_networks_that_are_trusted(network: str, wide: bool) -> None:
    said = [
        f'[[switch]] "sbc" trusted_network: every host of {network} can act as this switch. List the addresses of '
        "the switch alone, or set a token."
    ]
    assert warned(switch=[switch("sbc", (network,), trusted_network=True)]) == said * wide
    assert warned(switch=[switch("sbc", (network,), token=GOOD)]) == []
    proxies = warned(http={"trusted_proxies": [network]})
    assert [one.partition(": ")[0] for one in proxies] == ["[http] trusted_proxies"] * wide


def test_a_token_that_is_not_needed() -> None:
    (effect,) = warned(switch=[switch(token=GOOD, trusted_network=True)])
    assert effect.startswith('[[switch]] "sbc" trusted_network: it has no effect')
    both = [switch("a", token=GOOD), switch("b", trusted_network=True)]
    (found,) = warned(switch=both)
    assert found == (
        '[[switch]] "a" addresses: a message from 192.0.2.1 without a token counts as one of "b", which needs '
        'none. Give "b" a token, or other addresses.'
    )


def test_a_switch_that_is_a_proxy() -> None:
    (found,) = warned(switch=[switch("a", ("192.0.2.0/24",), token=GOOD)], http={"trusted_proxies": ["192.0.2.9"]})
    assert found.startswith('[http] trusted_proxies: 192.0.2.0/24 of [[switch]] "a" is also a proxy. ')
    assert warned(http={"trusted_proxies": ["127.0.0.1", "::1"]}) == [], "the default switch is on loopback, too"


def test_files_that_others_can_read_or_replace() -> None:
    with shared_folder() as shared:
        config, key = shared / "identengine.toml", shared / "server.key"
        config.write_text(
            f'[tls]\nkey = "server.key"\n[[switch]]\nname = "a"\naddresses = ["192.0.2.1"]\ntoken = "{GOOD}"\n'
        )
        key.write_text("key")
        config.chmod(0o644)
        key.chmod(0o644)
        secrets, readable = load(config).warnings
        assert secrets.startswith(
            f"{config}: it holds secrets, and all users of this machine can read it. Run `chmod"
        )
        assert readable.startswith(f"[tls] key: all users of this machine can read {key}. Run `chmod o-r {key}`")
        config.chmod(0o640)
        key.chmod(0o640)
        assert load(config).warnings == ()
        config.chmod(0o644)
        key.chmod(0o644)
        shared.chmod(0o750)
        assert load(config).warnings == (), "others cannot enter the folder"
        shared.chmod(0o770)
        assert [one.partition(" Correct")[0] for one in load(config).warnings] == [
            f"{file}: another user can change it: {shared} is writable for its group." for file in (config, key)
        ]


def test_a_config_without_secrets_may_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SBC", GOOD)
    config = tmp_path / "identengine.toml"
    config.write_text('[[switch]]\nname = "a"\naddresses = ["192.0.2.1"]\ntoken = { env = "SBC" }\n')
    assert load(config).warnings == ()
