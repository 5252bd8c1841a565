"""``identengine load`` over RADIUS and RESP against servers of others: FreeRADIUS and Redis."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import HOST
from support.cli import run
from support.ports import free_port
from support.programs import program
from support.relay import Relay
from support.waiting import wait_for

SECRET = "a secret of FreeRADIUS"
PASSWORD = "a password of more than sixteen characters"
RADIUSD = """\
prefix = /usr
localstatedir = {folder}
raddbdir = {folder}
run_dir = {folder}
logdir = {folder}
libdir = /usr/lib/freeradius
max_requests = 65536
cleanup_delay = 5
log {{
    destination = files
    file = {folder}/radius.log
}}
security {{
    reject_delay = 0
    status_server = yes
}}
client loopback {{
    ipaddr = {host}
    secret = "{secret}"
    require_message_authenticator = yes
}}
thread pool {{
    start_servers = 1
    max_servers = 1
}}
modules {{
    files {{
        filename = {folder}/users
    }}
    pap {{
    }}
    always ok {{
        rcode = ok
    }}
}}
server default {{
    listen {{
        type = auth
        ipaddr = {host}
        port = {auth}
    }}
    listen {{
        type = acct
        ipaddr = {host}
        port = {acct}
    }}
    authorize {{
        files
        pap
    }}
    authenticate {{
        pap
    }}
    post-auth {{
        update reply {{
            Message-Authenticator := 0x00
        }}
        Post-Auth-Type REJECT {{
            update reply {{
                Message-Authenticator := 0x00
                Cisco-AVPair += "sip-code=404"
            }}
        }}
    }}
    accounting {{
        ok
    }}
}}
"""
USERS = f"""\
alice Cleartext-Password := "{PASSWORD}"
\tCisco-AVPair += "account=17",
\tCisco-AVPair += "xpgk-dst-number-out=%{{Called-Station-Id}}"

bob Auth-Type := Reject
\tReply-Message = "no_did"
"""
MIX: list[dict[str, object]] = [
    {
        "method": "authorize",
        "params": {"call_id": "{n}", "name": "alice", "password": PASSWORD, "dst_number": "4420"},
        "expect": {"accepted": True, "account_id": 17, "dst_number": "4420"},
    },
    {"method": "start", "params": {"call_id": "{n}"}, "expect": {"ok": True}},
    {
        "method": "authorize",
        "params": {"call_id": "x{n}", "name": "bob"},
        "expect": {"accepted": False, "reason": "no_did", "sip_code": 404},
    },
    {"method": "stop", "params": {"call_id": "{n-20}"}, "expect": {"freed": 1}},
    {"method": "ping"},
]


def mix(folder: Path, *lines: Mapping[str, object]) -> Path:
    path = folder / "mix.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def outcomes(report: Any) -> dict[tuple[str, str], int]:
    return {(one["method"], one["outcome"]): one["count"] for one in report["outcomes"]}


@contextmanager
def running(folder: Path, command: list[str], is_ready: Callable[[], bool]) -> Iterator[None]:
    """Run a program during the block, from the moment it is ready."""
    with (
        (folder / "output").open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output) as process,
    ):
        try:
            wait_for(lambda: process.poll() is not None or is_ready())
            assert process.poll() is None, (folder / "output").read_text()
            yield
        finally:
            process.terminate()


@pytest.fixture
def freeradius(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """A FreeRADIUS, by its ports of authorization and accounting."""
    monkeypatch.setenv("RADIUS_SECRET", SECRET)
    binary = program("freeradius", "freeradius")
    auth, acct = free_port(), free_port()
    config = RADIUSD.format(folder=tmp_path, host=HOST, secret=SECRET, auth=auth, acct=acct)
    (tmp_path / "radiusd.conf").write_text(config)
    (tmp_path / "dictionary").write_text("$INCLUDE /usr/share/freeradius/dictionary\n")
    (tmp_path / "users").write_text(USERS)
    log = tmp_path / "radius.log"
    with running(
        tmp_path,
        [binary, "-f", "-s", "-d", str(tmp_path)],
        lambda: log.exists() and "Ready to process requests" in log.read_text(),
    ):
        yield auth, acct


@pytest.mark.parametrize("how", [("--window", 600), ("--rate", 1000)], ids=["window", "rate"])
def test_radius(freeradius: tuple[int, int], tmp_path: Path, how: tuple[str, int]) -> None:
    auth, acct = freeradius
    words = [
        "--accounting-port",
        acct,
        "--secret-env",
        "RADIUS_SECRET",
        "--timeout",
        20,
        "--json",
        "--connections",
        2,
    ]
    said = run("load", f"radius://{HOST}:{auth}", mix(tmp_path, *MIX), *words, *how, "--requests", 1000)
    assert said.status == 0, said
    report = said.json["report"]
    assert (report["sent"], report["answered"], report["lost"], report["wrong"]) == (1000, 1000, 0, 0)
    assert outcomes(report) == {
        ("authorize", "accepted"): 200,
        ("authorize", "no_did"): 200,
        ("start", "done"): 200,
        ("stop", "done"): 200,
        ("ping", "pong"): 200,
    }


def test_radius_retransmits(freeradius: tuple[int, int], tmp_path: Path) -> None:
    auth, acct = freeradius
    words = ["--secret-env", "RADIUS_SECRET", "--requests", 300, "--timeout", 1.5, "--json"]
    with Relay(auth, every=10) as front, Relay(acct, every=10) as back:
        ports = ["--accounting-port", back.port]
        said = run("load", f"radius://{HOST}:{front.port}", mix(tmp_path, *MIX[:2]), *ports, *words)
        dropped = front.dropped + back.dropped
    report = said.json["report"]
    assert said.status == 0, said
    assert (report["answered"], report["lost"], report["wrong"]) == (300, 0, 0)
    assert report["retransmitted"] >= len(dropped) >= 30
    assert report["latency"]["max"] >= 500


def test_radius_with_a_wrong_secret(
    freeradius: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADIUS_SECRET", "quite another")
    words = [f"radius://{HOST}:{freeradius[0]}", mix(tmp_path, MIX[0]), "--requests", 10, "--timeout", 0.3]
    said = run("load", *words, "--secret-env", "RADIUS_SECRET", "--json")
    assert (said.status, said.json["report"]["lost"]) == (1, 10)
    assert "quite another" not in said.out + said.err
    assert run("load", *words, "--secret-env", "UNSET").status == 2
    unnamed = run("load", *words)
    assert (unnamed.status, unnamed.out) == (1, "")
    assert "--secret-env" in unnamed.err


@pytest.fixture
def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A Redis that requires a password, by its port."""
    monkeypatch.setenv("REDIS_PASSWORD", PASSWORD)
    binary = program("redis-server", "redis-server")
    port = free_port()
    options = [
        "--port",
        str(port),
        "--bind",
        HOST,
        "--save",
        "",
        "--requirepass",
        PASSWORD,
        "--dir",
        str(tmp_path),
    ]

    def is_ready() -> bool:
        with ExitStack() as stack:
            try:
                stack.enter_context(socket.create_connection((HOST, port), 1))
            except OSError:
                return False
            return True

    with running(tmp_path, [binary, *options], is_ready):
        yield port


def test_resp(redis: int, tmp_path: Path) -> None:
    """Redis knows no ``IDENT.AUTH``. Its errors and pongs keep the order of the requests."""
    unknown = {"method": "authorize", "params": {"call_id": "{n}"}, "expect": {"error": "ERR"}}
    path = mix(tmp_path, unknown, {"method": "ping"}, {"method": "ping"})
    words = [f"resp://{HOST}:{redis}", path, "--token-env", "REDIS_PASSWORD", "--connections", 5]
    said = run("load", *words, "--window", 200, "--requests", 3000, "--timeout", 20, "--json")
    assert said.status == 0, said
    assert outcomes(said.json["report"]) == {("authorize", "error ERR"): 1000, ("ping", "pong"): 2000}


def test_resp_with_a_wrong_password(redis: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "quite another")
    words = [f"resp://{HOST}:{redis}", mix(tmp_path, {"method": "ping"}), "--requests", 10]
    said = run("load", *words, "--token-env", "REDIS_PASSWORD")
    assert (said.status, said.out) == (1, "")
    assert "the server rejected the token" in said.err
    assert "quite another" not in said.err
    bare = run("load", *words, "--json")
    assert bare.status == 1
    assert outcomes(bare.json["report"]) == {("ping", "error NOAUTH"): 10}


@pytest.mark.parametrize("scheme", ["resp", "resps", "radius"])
def test_the_form_is_that_of_the_interface(tmp_path: Path, scheme: str) -> None:
    said = run("load", f"{scheme}://{HOST}", mix(tmp_path, MIX[0]), "--encoding", "msgpack")
    assert (said.status, said.out) == (1, "")
    assert "MessagePack" in said.err


def test_a_request_that_radius_has_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADIUS_SECRET", SECRET)
    wrong = {"method": "authorize", "params": {"leg_id": "{n}"}, "title": "a leg"}
    said = run("load", f"radius://{HOST}", mix(tmp_path, wrong), "--secret-env", "RADIUS_SECRET")
    assert (said.status, said.out) == (1, "")
    assert "a leg: leg_id: RADIUS carries no such parameter" in said.err
