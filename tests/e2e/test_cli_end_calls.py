"""``clients block --end-calls`` with a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli import config_with, run
from support.operator import CALLS, book, burst, call, held, hold
from support.server import Server, serving


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(book(tmp_path), CALLS) as running:
        yield running


def test_the_calls_of_a_blocked_client_end(server: Server) -> None:
    """Client 2 is below client 1, so that its calls end with those of client 1."""
    hold(server, 3)
    hold(server, 2, "10.0.0.18", "other")
    tried = run("clients", "block", 1, "--end-calls", "--dry-run", "--json", "--config", server.config)
    assert (tried.status, tried.json["version"], tried.json["ended"]) == (0, None, None)
    said = run("clients", "block", 1, "--end-calls", "--config", server.config)
    assert (said.status, said.out.splitlines()[-1]) == (0, "3 legs ended, with those of 1 client below")
    assert held(server) == 2
    (answer,) = burst(server, [call("new")])
    assert answer["reason"] == "client_blocked"
    log = run("audit", "--client", 2, "--json", "--config", server.config).json
    assert (log[-1]["what"], log[-1]["account"]) == ("calls end client 1: 3 legs", 17)
    other = run("clients", "block", 3, "--end-calls", "--json", "--config", server.config)
    assert other.json["ended"] == {"freed": 2, "gone": 0}
    assert other.json["changes"][0]["key"] == 3


def test_a_client_that_was_blocked_before_loses_its_calls_too(server: Server) -> None:
    hold(server, 1)
    assert run("clients", "block", 2, "--config", server.config).status == 0
    said = run("clients", "block", 2, "--end-calls", "--config", server.config)
    assert (said.status, said.out) == (0, "nothing to change\n1 leg ended\n")


def test_without_a_server_the_client_is_blocked(tmp_path: Path) -> None:
    config = config_with(book(tmp_path), "")
    said = run("clients", "block", 2, "--end-calls", "--config", config)
    assert said.status == 1
    assert 'status "active" -> "blocked"' in said.out
    assert said.err.startswith("client 2 is blocked, but not all calls were ended: no server at ")
    assert "Use `identengine calls end --client CLIENT --yes` to end them." in said.err
    as_json = run("clients", "block", 3, "--end-calls", "--json", "--config", config)
    assert (as_json.status, as_json.json["version"], as_json.json["ended"]) == (1, 3, None)
    assert "client 3 is blocked" in json.loads(as_json.err)["error"]["message"]


def test_the_folder_of_the_calls_is_required(tmp_path: Path) -> None:
    store = book(tmp_path) / "store"
    said = run("clients", "block", 2, "--end-calls", store=store, env={"COLUMNS": "200"})
    assert said.status == 2
    assert "name the folder of the set of calls" in said.err
    assert run("clients", "list", "--status", "blocked", "--json", store=store).json == []
