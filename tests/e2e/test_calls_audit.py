"""``calls end`` leaves an entry in the audit log (engine.md 8.4)."""

from __future__ import annotations

from pathlib import Path

from support.books import ip_account, put_rows
from support.cli import done, run
from support.server import Server, serving
from support.switch import request

from identengine.model.records import Client


def hold(server: Server, *call_ids: str, source: str = "10.0.0.1") -> None:
    with server.tcp() as tcp:
        for call_id in call_ids:
            tcp.send(request("authorize", 1, call_id=call_id, src_ip=source, dst_number="44171"))
            assert tcp.answers(1)[0]["result"]["accepted"]


def entries(store: Path, *options: object) -> list[tuple[str, str, int | None]]:
    log = done("audit", *options, "--json", store=store).json
    return [(entry["who"], entry["what"], entry["account"]) for entry in log if entry["change"] is None]


def test_ended_calls_are_in_the_audit_log(tmp_path: Path) -> None:
    accounts = [ip_account(1, "10.0.0.1"), ip_account(2, "10.0.0.2")]
    put_rows(tmp_path / "store", accounts, [Client(id=1, name="one")])
    with serving(tmp_path) as server:
        store, config = server.store, server.config
        hold(server, "a", "b", "c", "d")
        hold(server, "e", source="10.0.0.2")
        assert done("calls", "end", "a", "--config", config, "--who", "ann").out == "1 leg ended\n"
        assert entries(store) == [("ann", 'calls end call_id "a": 1 leg', 1)]
        assert run("calls", "end", "--account", 1, "--config", config).status == 1, "a preview leaves no entry"
        assert len(entries(store)) == 1
        calls = tmp_path / "calls"
        done("calls", "end", "b", "--calls", calls, "--store", store, "--who", "bob")
        assert entries(store)[1:] == [("bob", 'calls end call_id "b": 1 leg', 1)]
        silent = done("calls", "end", "c", "--calls", calls)
        assert silent.err == (
            "This is not in the audit log: no option names the store. Use --config FILE or --store DIR.\n"
        )
        assert len(entries(store)) == 2
        refused = run("calls", "end", "d", "--calls", calls, "--store", tmp_path / "nowhere")
        assert refused.status == 1
        assert "No call was ended. Use --calls DIR alone to end calls without an entry." in refused.err
        done("calls", "end", "--client", 1, "--yes", "--config", config, "--who", "ann")
        assert entries(store, "--by", "ann")[1:] == [
            ("ann", "calls end client_id 1: 1 leg", 1),
            ("ann", "calls end client_id 1: 1 leg", 2),
        ]
        assert entries(store, "--account", 2) == [("ann", "calls end client_id 1: 1 leg", 2)]
        assert done("audit", "--verify", store=store).out.startswith("the audit log is intact: ")
