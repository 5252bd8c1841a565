"""Commands with ``--config``: they need no token of the server, and no key unless they read passwords."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import BOOK, Run, config_with, demo_store, run

TOKENS = """
[listen]
http = "127.0.0.1:0"
[[switch]]
name = "sbc1"
addresses = ["192.0.2.1"]
token = { env = "NOT_SET_TOKEN" }
secret = { env = "NOT_SET_SECRET" }
[switch.radius]
require_message_authenticator = true
ignore_password = { env = "NOT_SET_PASSWORD" }
[[switch]]
name = "sbc2"
addresses = ["192.0.2.1"]
token = { env = "NOT_SET_OTHER" }
[[token]]
name = "noc"
role = "read"
token = { env = "NOT_SET_READ" }
"""

COMMANDS = [
    "export {folder}/out",
    "copy {folder}/copy",
    "versions",
    "diff 0 1",
    "rollback 1",
    "audit",
    "audit --account 101",
    "identify src_ip=192.0.2.10 dst_number=77#442079460123",
    "explain src_ip=192.0.2.10 dst_number=77#442079460123",
    "accounts list",
    "accounts show 101",
    "accounts search northwind",
    "accounts set 101 orig_tag=gold",
    "accounts disable 101",
    "accounts password show 142",
    "clients list",
    "clients set 1 notes=x",
    "dids list",
    "dids search 44",
    "key rotate",
    "store check",
    "store info",
    "import {book}",
    "init",
]
SERVER_COMMANDS = ["stats", "calls", "calls end --account 101 --yes", "top --once"]


def with_config(command: str, folder: Path, config: Path, env: dict[str, str] | None = None) -> Run:
    words = command.format(folder=folder, book=BOOK).split()
    return run(*words, "--config", config, env=env)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "env", [{}, {"NOT_SET_TOKEN": " wrong ", "NOT_SET_READ": " wrong "}], ids=["unset", "wrong"]
)
def test_a_command_needs_no_token_of_the_server(tmp_path: Path, command: str, env: dict[str, str]) -> None:
    demo_store(tmp_path)
    with_token = with_config(command, tmp_path, config_with(tmp_path, TOKENS), env)
    assert with_token.err.count("NOT_SET") == 0
    assert with_token.status == 0, with_token


@pytest.mark.parametrize("command", SERVER_COMMANDS)
def test_a_command_to_a_server_needs_no_token(tmp_path: Path, command: str) -> None:
    result = with_config(command, tmp_path, config_with(tmp_path, TOKENS))
    assert "NOT_SET" not in result.err
    assert str(tmp_path / "calls") in result.err  # the command looked for the server there


def test_the_server_needs_every_token(tmp_path: Path) -> None:
    demo_store(tmp_path)
    result = run("serve", "--check", "--config", config_with(tmp_path, TOKENS))
    assert result.status != 0
    for name in ("TOKEN", "SECRET", "PASSWORD", "OTHER", "READ"):
        assert result.err.count(f"NOT_SET_{name} is not set. Set it to the secret.") == 1


def test_only_passwords_need_the_key(tmp_path: Path) -> None:
    demo_store(tmp_path)
    config = config_with(tmp_path, "")
    config.write_text(config.read_text().replace("[store]\n", '[store]\nkey = { env = "NOT_SET_KEY" }\n'))
    for command in ("accounts list", "versions", "identify src_ip=192.0.2.10 dst_number=77#442079460123"):
        assert with_config(command, tmp_path, config).status == 0
    for command in ("accounts password show 142", "init"):
        result = with_config(command, tmp_path, config)
        assert result.status == 1
        assert "[store] key: the environment variable NOT_SET_KEY is not set. Set it to the secret." in result.err
    key = (tmp_path / "store.key").read_text().strip()
    assert with_config("accounts password show 142", tmp_path, config, {"NOT_SET_KEY": key}).status == 0
