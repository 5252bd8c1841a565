"""Redis' own programs ask a server: redis-cli and redis-benchmark (interfaces.md 4)."""

from __future__ import annotations

import json
import re
import subprocess

from e2e.resp.conftest import FIELDS, TOKEN
from support import HOST
from support.programs import program
from support.server import Server

from identengine.stats import file as counters


def redis_cli(server: Server, *arguments: str, given: str = "") -> list[str]:
    """Return the lines that redis-cli prints."""
    command = [program("redis-cli", "redis-tools"), "-h", HOST, "-p", str(server.ports["tcp"]), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
    return (done.stdout + done.stderr).splitlines()


def test_a_command_of_redis_cli(server: Server) -> None:
    assert redis_cli(server, "PING") == ["PONG"]
    reply = redis_cli(server, "--json", "IDENT.AUTH", "call_id=cli-1", *FIELDS)
    assert json.loads(reply[0]) == [1, None, 1, 1, "33", "44", "gold", "plan", "a tag", None, "99", 1]
    (found,) = redis_cli(server, "--raw", "IDENT.AUTHJ", "call_id=cli-2", *FIELDS)
    assert json.loads(found)["account_name"] == "account 1"
    assert redis_cli(server, "--raw", "IDENT.STOP", "call_id=cli-1") == ['{"ok":true,"freed":1}']


def test_a_session_of_redis_cli(server: Server) -> None:
    session = (
        "HELLO 2\nident.auth call_id=cli-3 src_ip=10.0.0.2 dst_number=44\nGET x\nSELECT 0\nIDENT.STOP\nQUIT\n"
    )
    lines = [line.strip() for line in redis_cli(server, "--no-raw", given=session)]
    assert '2) "identengine"' in lines
    assert '2) "account_capacity"' in lines
    assert '(error) ERR unknown command "GET"' in lines
    assert "(error) ERR wrong number of arguments for 'ident.stop' command" in lines
    assert lines.count("OK") == 1  # redis-cli leaves at QUIT itself


def test_redis_cli_pipes_arrays_and_inline_commands(server: Server) -> None:
    given = "*1\r\n$4\r\nPING\r\nIDENT.IDENTIFY call_id='a b' src_ip=\"10.0.0.1\" dst_number=9944\r\n"
    lines = redis_cli(server, "--pipe", given=given)
    assert "errors: 0, replies: 2" in lines


def test_redis_cli_shows_a_token(guarded: Server) -> None:
    ask = ("IDENT.IDENTIFY", *FIELDS)
    assert redis_cli(guarded, *ask)[0].startswith("NOAUTH ")
    for options in (["-a", TOKEN], ["--user", "sbc1", "--pass", TOKEN]):
        lines = redis_cli(guarded, "--no-auth-warning", *options, *ask)
        assert lines[0] == "1", lines
    lines = redis_cli(guarded, "--no-auth-warning", "-a", "wrong", *ask)
    assert "WRONGPASS" in str(lines)


def test_redis_benchmark_pipelines_calls(server: Server) -> None:
    benchmark = program("redis-benchmark", "redis-tools")
    before = accepted(server)
    command = [
        benchmark,
        "-p",
        str(server.ports["tcp"]),
        "-n",
        "4000",
        "-c",
        "50",
        "-P",
        "16",
        "-r",
        "100000",
        "-q",
    ]
    done = subprocess.run(
        [*command, "IDENT.AUTH", "call_id=bench-__rand_int__", *FIELDS],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert re.search(r"[\d.]+ requests per second", done.stdout), done
    assert "Error" not in done.stdout + done.stderr
    assert accepted(server) - before >= 4000


def accepted(server: Server) -> int:
    """Return the number of authorizations."""
    return counters.read(server.folder / "calls").values["requests_authorize"]
