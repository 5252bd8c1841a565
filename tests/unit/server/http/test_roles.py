"""Tokens and their roles, without a socket."""

from __future__ import annotations

import tomllib

import pytest

from identengine.config.sections import from_values
from identengine.server.http.problems import ProblemError
from identengine.server.http.roles import Caller, Role, Roles

CONFIG = """
[http]
trusted_proxies = ["10.5.0.0/16", "2001:db8::1"]
[[switch]]
name = "wide"
addresses = ["192.0.2.0/24"]
token = "w"
[[switch]]
name = "narrow"
addresses = ["192.0.2.7", "2001:db8:1::/48"]
token = "n"
[[switch]]
name = "twin"
addresses = ["192.0.2.7"]
token = "t"
"""
TOKEN = "[[token]]\nname = 'noc'\nrole = 'read'\ntoken = 'look'\n"


def roles(more: str = "") -> tuple[Roles, list[tuple[str, str]]]:
    refused: list[tuple[str, str]] = []
    config = from_values(tomllib.loads(CONFIG + more), None)
    return Roles(config, lambda host, why: refused.append((host, why))), refused


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["6.6.6.6"], "192.0.2.1"),
        ("10.5.1.1", [], "10.5.1.1"),
        ("10.5.1.1", ["192.0.2.1"], "192.0.2.1"),
        ("10.5.1.1", ["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
        ("10.5.1.1", ["6.6.6.6", "192.0.2.1 , 10.5.9.9"], "192.0.2.1"),
        ("10.5.1.1", ["10.5.1.2, 10.5.1.3"], "10.5.1.2"),
        ("2001:db8::1", ["2001:db8:1::5"], "2001:db8:1::5"),
        ("::ffff:10.5.1.1", ["192.0.2.1"], "192.0.2.1"),
        ("10.5.1.1", ["nonsense"], "nonsense"),
        ("10.5.1.1", ["192.0.2.1,"], ""),
        ("10.5.1.1", ["x" * 100_000], "x" * 64),
        ("10.5.1.1", ["10.5.1.1," * 100_000 + "192.0.2.1"], "192.0.2.1"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_trusted_proxy(
    peer: str, forwarded: list[str], found: str
) -> None:
    assert roles()[0].source(peer, forwarded).host == found


def called(
    token: str | None, peer: str, needed: Role, more: str = "", forwarded: str | None = None
) -> Caller | int:
    gate, _ = roles(more)
    source = gate.source(peer, [] if forwarded is None else [forwarded])
    try:
        return gate.caller(None if token is None else f"Bearer {token}", source, needed)
    except ProblemError as error:
        return error.problem.status


@pytest.mark.parametrize(
    ("token", "peer", "found"),
    [
        ("w", "192.0.2.1", "wide"),
        ("w", "192.0.2.7", 401),  # the longest of overlapping networks wins
        ("n", "192.0.2.7", "narrow"),
        ("t", "192.0.2.7", "twin"),  # among its switches the token decides
        ("n", "2001:db8:1::5", "narrow"),
        ("n", "192.0.2.1", 401),
        ("n", "nonsense", 401),
        ("n", "", 401),
        ("x", "192.0.2.7", 401),
        (None, "192.0.2.7", 401),
    ],
)
def test_a_switch_is_known_by_its_token_at_its_addresses(token: str | None, peer: str, found: str | int) -> None:
    caller = called(token, peer, "switch")
    assert (caller.name if isinstance(caller, Caller) else caller) == found


def test_without_a_token_to_read_this_machine_may_read() -> None:
    local = Caller("read", "local")
    assert called(None, "127.0.0.1", "read") == called(None, "::1", "read") == local
    assert called(None, "192.0.2.1", "read") == 401
    assert called(None, "127.0.0.1", "read", forwarded="127.0.0.1") == 401, "a proxy that the config does not name"
    assert called(None, "127.0.0.1", "operator") == 401
    assert called(None, "127.0.0.1", "read", TOKEN) == 401
    assert called("look", "192.0.2.1", "read", TOKEN) == Caller("read", "noc")
    assert called("look", "192.0.2.1", "operator", TOKEN) == 403


def test_a_refusal_is_reported_without_the_token() -> None:
    gate, refused = roles()
    for token, peer in (("secret-one", "198.51.100.1"), ("w", "198.51.100.1"), ("w", "192.0.2.7")):
        with pytest.raises(ProblemError):
            gate.caller(f"Bearer {token}", gate.source(peer, []), "switch")
    assert refused == [
        ("198.51.100.1", "wrong HTTP token"),
        ("198.51.100.1", 'HTTP token of "wide" from another address'),
        ("192.0.2.7", 'HTTP token of "wide" from an address in a smaller network of another switch'),
    ]


@pytest.mark.parametrize("needed", ["switch", "read", "operator"])
@pytest.mark.parametrize("peer", ["198.51.100.1", "192.0.2.7", "nonsense"])
def test_elsewhere_a_switchs_token_is_answered_as_any_wrong_one(needed: Role, peer: str) -> None:
    """The answer to a right token from another address would confirm a guess."""
    gate, _ = roles(TOKEN)
    answers = []
    for token in ("w", "wrong"):
        with pytest.raises(ProblemError) as error:
            gate.caller(f"Bearer {token}", gate.source(peer, []), needed)
        answers.append((error.value.problem, error.value.headers))
    assert answers[0] == answers[1]
