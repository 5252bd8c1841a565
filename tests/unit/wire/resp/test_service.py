"""Wrong use, the commands that clients of Redis send on their own, and authentication (interfaces.md 4)."""

from __future__ import annotations

import pytest
from unit.wire.resp.session import ACCEPTED, TOKEN, Asked, Link, authorize


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def link(asked: Asked) -> Link:
    return asked.connect()


# ---- wrong use


@pytest.mark.parametrize(
    ("command", "reply", "code"),
    [
        (("GET", "hush"), '-ERR unknown command "GET"', -32601),
        (("IDENT.AUHT", "a=b"), '-ERR unknown command "IDENT.AUHT"; did you mean "IDENT.AUTH"?', -32601),
        (("", ), '-ERR unknown command ""', -32601),
        (("IDENT.AUTH",), "-ERR wrong number of arguments for 'ident.auth' command", -32600),
        (("IDENT.SWITCH_UP", "a=b"), "-ERR wrong number of arguments for 'ident.switch_up' command", -32600),
        (("ECHO",), "-ERR wrong number of arguments for 'echo' command", -32600),
        (("PING", "a", "b"), "-ERR wrong number of arguments for 'ping' command", -32600),
        (("AUTH", "a", "b", "c"), "-ERR wrong number of arguments for 'auth' command", -32600),
        (("IDENT.AUTH", "call_id=a", "hush"), "-ERR argument 2: expected field=value", -32602),
        (("IDENT.STOP", "leg_id=a"), "-ERR call_id: expected the id of a call", -32602),
        (("IDENT.START", "call_id=a", "interval=x"), "-ERR interval: expected", -32602),
        (("SELECT", "1"), "-ERR DB index is out of range", -32602),
        (("SELECT", "x"), "-ERR invalid DB index", -32602),
        (("CLIENT", "KILL"), '-ERR unknown subcommand "KILL"', -32601),
        (("CLIENT", "ID", "x"), "-ERR wrong number of arguments for 'client|id' command", -32600),
        (("CLIENT", "SETNAME", "a b"), "-ERR Client names cannot contain spaces", -32602),
        (("COMMAND", "X"), '-ERR unknown subcommand "X"', -32601),
        (("HELLO", "3"), "-NOPROTO unsupported protocol version", -32602),
        (("HELLO", "x"), "-ERR Protocol version is not an integer", -32602),
        (("HELLO", "2", "hush"), "-ERR Syntax error in HELLO option", -32602),
    ],
)  # fmt: skip
def test_wrong_use_is_an_error(link: Link, command: tuple[str, ...], reply: str, code: int) -> None:
    found = link.ask(*command)
    assert isinstance(found, str)
    assert found.startswith(reply)
    assert "hush" not in found
    assert [(one.switch, one.code) for one in link.asked.malformed] == [("sbc1", code)]
    assert link.ask("PING") == "+PONG"
    assert not link.closed


def test_after_many_wrong_commands_errors_suggest_none(link: Link) -> None:
    replies = link.all(*[("IDENT.AUHT",)] * 20)
    assert ["did you mean" in str(one) for one in replies] == [True] * 16 + [False] * 4


def test_a_broken_stream_is_answered_up_to_the_error(link: Link) -> None:
    assert link.send(b"PING\r\n*1\r\n$x\r\n") == ["+PONG", "-ERR Protocol error: invalid bulk length"]
    assert link.closed
    assert [one.code for one in link.asked.malformed] == [-32700]


# ---- commands of Redis


def test_commands_that_clients_of_redis_send(link: Link) -> None:
    assert link.ask("PING") == "+PONG"
    assert link.ask("PING", "x") == b"x"
    assert link.ask("ECHO", b'\x00"\\\r\n') == b'\x00"\\\r\n'
    assert link.ask("SELECT", "0") == "+OK"
    assert link.ask("CLIENT", "SETINFO", "LIB-NAME", "x") == "+OK"
    assert link.ask("CLIENT", "GETNAME") is None
    assert link.ask("client", "setname", "kamailio-1") == "+OK"
    assert link.ask("CLIENT", "GETNAME") == b"kamailio-1"
    assert link.ask("CLIENT", "ID") == link.ask("CLIENT", "ID")
    assert link.ask("CLIENT", "ID") != link.asked.connect().ask("CLIENT", "ID")
    assert link.asked.malformed == []


def test_hello(link: Link) -> None:
    for command in (("HELLO",), ("HELLO", "2"), ("hello", "2", "setname", "x")):
        found = link.ask(*command)
        assert isinstance(found, list)
        facts = dict(zip(found[::2], found[1::2], strict=True))
        assert (facts[b"server"], facts[b"proto"], facts[b"role"]) == (b"identengine", 2, b"master")
    assert link.ask("CLIENT", "GETNAME") == b"x"


def test_command_describes_all_commands(link: Link) -> None:
    names = link.ask("COMMAND", "LIST")
    assert isinstance(names, list)
    assert {b"ident.auth", b"ident.authj", b"ident.sync", b"ident.switch_down", b"ping", b"hello"} <= {*names}
    assert link.ask("COMMAND", "COUNT") == len(names)
    described = link.ask("COMMAND")
    assert isinstance(described, list)
    assert [one[0] for one in described if isinstance(one, list)] == names
    assert link.ask("COMMAND", "INFO", "ident.auth", "get", "echo", "ident.switch_up") == [
        [b"ident.auth", -2, [b"fast"], 0, 0, 0], None, [b"echo", 2, [b"fast"], 0, 0, 0],
        [b"ident.switch_up", 1, [b"fast"], 0, 0, 0]]  # fmt: skip
    assert link.ask("COMMAND", "DOCS") == []


def test_info(link: Link) -> None:
    found = link.ask("INFO", "server")
    assert isinstance(found, bytes)
    assert b"# Server\r\nidentengine_version:" in found
    assert b"\r\nbook_version:7\r\n" in found


def test_quit_closes_behind_its_answer(link: Link) -> None:
    assert link.all(("PING",), ("QUIT",), ("PING",)) == ["+PONG", "+OK"]
    assert link.closed


# ---- authentication


def test_a_token_is_shown_once(asked: Asked) -> None:
    link = asked.connect(tokens=True)
    assert link.ask(*authorize("a")) == "-NOAUTH Authentication required."
    assert link.ask("PING") == "-NOAUTH Authentication required."
    assert link.all(("AUTH", TOKEN), authorize("a")) == ["+OK", ACCEPTED]
    assert not asked.wrong_tokens


@pytest.mark.parametrize(
    "command",
    [("AUTH", TOKEN), ("auth", "default", TOKEN), ("AUTH", "sbc2", TOKEN), ("HELLO", "2", "AUTH", "sbc2", TOKEN)],
)
def test_ways_to_authenticate(asked: Asked, command: tuple[str, ...]) -> None:
    link = asked.connect(tokens=True)
    assert not str(link.ask(*command)).startswith("-")
    assert link.session.peer is not None


@pytest.mark.parametrize(
    "command",
    [("AUTH", "hush"), ("AUTH", "sbc1", TOKEN), ("AUTH", "default", ""), ("HELLO", "2", "AUTH", "x", TOKEN)],
)
def test_wrong_credentials(asked: Asked, command: tuple[str, ...]) -> None:
    link = asked.connect(tokens=True)
    assert link.ask(*command) == "-WRONGPASS invalid username-password pair or user is disabled."
    assert asked.wrong_tokens == ["192.0.2.1"]
    assert [(one.switch, one.code, one.field) for one in asked.malformed] == [(None, -32602, "token")]
    assert link.session.peer is None


def test_hello_before_authentication(asked: Asked) -> None:
    link = asked.connect(tokens=True)
    assert str(link.ask("HELLO", "2")).startswith("-NOAUTH ")
    assert link.ask("QUIT") == "+OK"


def test_a_token_where_none_is_configured(link: Link) -> None:
    assert str(link.ask("AUTH", "x")).startswith("-ERR AUTH <password> called without any password configured")
    assert link.ask("PING") == "+PONG"


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (("PING",), "-NOAUTH "),
        (("NOPE",), "-NOAUTH "),
        (("AUTH",), "-ERR wrong number of arguments"),
        (("AUTH", "hush"), "-WRONGPASS "),
        (("HELLO", "2"), "-NOAUTH "),
        (("HELLO", "3"), "-NOPROTO "),
        (("HELLO", "2", "hush"), "-ERR Syntax error"),
    ],
)
def test_a_connection_without_a_token_is_closed_after_16_messages(
    asked: Asked, command: tuple[str, ...], reply: str
) -> None:
    link = asked.connect(tokens=True)
    replies = link.all(*[command] * 20)
    assert [str(one)[: len(reply)] for one in replies] == [reply] * 16
    assert link.closed
