"""``identengine clients …`` and ``identengine dids …`` with the demo's book."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.books import put_rows
from support.cli import demo_store, done, run

from identengine.model.records import Client


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return demo_store(tmp_path)


def test_clients_are_listed_filtered_and_searched(store: Path) -> None:
    lines = done("clients", "list", store=store).out.splitlines()
    assert len(lines) == 1 + 28
    assert any("Tideway Minicabs" in line and "below blocked 7 Old Quay Telecom" in line for line in lines)

    def ids(*words: object) -> list[int]:
        return [client["id"] for client in done("clients", *words, "--json", store=store).json]

    assert ids("list", "--status", "blocked") == [6, 7]
    assert ids("list", "--reseller", "Silverpine Hosted PBX") == [16, 19]
    assert ids("search", "vendor", "only") == [13, 14]
    assert ids("list", "--limit", 1, "--offset", 3) == [4]


def test_a_client_is_shown_with_all_around_it(store: Path) -> None:
    out = done("clients", "show", "Pennyfield Leeds", store=store).out
    for part in (
        "4 Pennyfield Contact Centres < 3 Castlegate Communications",
        "PF-Agents (from client 4 Pennyfield Contact Centres)",
        "3: 141 Pennyfield Leeds floor 1, 142 Pennyfield Leeds dialler, 214 Pennyfield Leeds inbound",
        "by tester: import",
    ):
        assert part in out
    shown = done("clients", "show", 11, "--json", store=store).json
    assert [one["id"] for one in shown["clients_below"]] == [16, 19]
    assert shown["blocked"] is False


def test_clients_are_added_changed_and_removed(store: Path) -> None:
    assert (
        done("clients", "add", "name=Acme", "parent_id=3", store=store).out == "version 2\nclient 29 added: Acme\n"
    )
    said = done("clients", "set", 29, "name=Acme Voice", "parent_id=", "capacity=3", store=store)
    assert 'parent_id "3" -> not set' in said.out
    asked = run("clients", "remove", 29, store=store)
    assert asked.status == 1
    assert "--yes" in asked.err
    done("clients", "remove", "acme voice", "--yes", store=store)
    assert run("clients", "show", 29, store=store).status == 1


def test_blocking_and_unblocking(store: Path) -> None:
    call = ("identify", "src_ip=192.0.2.10", "dst_number=44", "--json")
    done("clients", "block", 1, store=store)
    assert run(*call, store=store).json["reason"] == "client_blocked"
    assert done("clients", "block", 1, store=store).out == "nothing to change\n"
    done("clients", "unblock", 1, store=store)
    assert run(*call, store=store).json["accepted"] is True


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ("remove", 5, "--yes"),
            "client 5 Pennyfield Leeds still has 3 accounts: 141 Pennyfield Leeds floor 1, 142",
        ),
        (("remove", 7, "--yes"), "client 7 Old Quay Telecom is the reseller of 1 client: 8 Tideway Minicabs"),
        (("set", 3, "parent_id=5"), "reseller loop: 3 → 5 → 4 → 3"),
        (("set", 3, "parent_id=3"), "command line: parent_id: reseller loop: 3 → 3"),
        (("set", 3, "parent_id=99"), "parent_id: no client 99 in the book"),
        (("set", 3, "capacity=many"), "command line: capacity: "),
        (("add", "id=3", "name=x"), "id: client 3 exists"),
        (("add", "capacity=3"), "command line: name: "),
        (("show", "Hotel Bellvedere"), "did you mean 16 Hotel Belvedere"),
        (("block", 77), "no client 77 in the book; did you mean "),
    ],
)
def test_what_clients_refuse(store: Path, command: tuple[object, ...], said: str) -> None:
    result = run("clients", *command, store=store)
    assert result.status == 1
    assert said in result.err
    assert len(done("versions", "--json", store=store).json) == 1


def test_a_chain_of_resellers_has_a_longest_length(store: Path) -> None:
    most = "parent_id: expected a chain of at most 32 clients, got 33"
    for number in range(101, 133):
        done("clients", "add", f"id={number}", "name=x", *[f"parent_id={number - 1}"][: number > 101], store=store)
    result = run("clients", "add", "name=x", "parent_id=132", store=store)
    assert result.status == 1
    assert f"command line: {most}: 133 → 132 → " in result.err
    done("clients", "add", "id=200", "name=y", store=store)
    done("clients", "add", "id=201", "name=z", "parent_id=200", store=store)
    result = run("clients", "set", 200, "parent_id=131", store=store)
    assert result.status == 1
    assert f"command line: {most} with client 201: 201 → 200 → 131 → " in result.err
    done("clients", "set", 200, "parent_id=130", store=store)
    assert run("clients", "set", 101, "parent_id=1", store=store).status == 1


def test_a_chain_from_an_older_program_can_be_shortened(store: Path) -> None:
    put_rows(
        store, clients=[Client(id=n, name="x", parent_id=n - 1 if n > 101 else None) for n in range(101, 161)]
    )
    done("clients", "set", 160, "capacity=3", store=store)
    assert run("clients", "set", 160, "parent_id=158", store=store).status == 0, (
        "the chain is shorter than before, although still too long"
    )
    assert run("clients", "set", 160, "parent_id=159", store=store).status == 1
    done("clients", "set", 140, "parent_id=", store=store)


def test_dids_are_listed_searched_and_shown(store: Path) -> None:
    def numbers(*words: object) -> list[str]:
        return [did["number"] for did in done("dids", *words, "--json", store=store).json]

    assert numbers("list", "--account", 181, "--status", "on_hold") == ["442079460205"]
    assert len(numbers("list")) == 63
    assert numbers("list", "--number", "+1 (701)") == ["17015550150", "17015550151"]
    assert numbers("search", "555-015") == ["17015550150", "17015550151"]
    row = ["17015550150", "112", "Prairie", "Bell", "by", "the", "hub", "active"]
    assert row in [line.split() for line in done("dids", "list", store=store).out.splitlines()]
    assert "client   22 Marigold Insurance" in done("dids", "show", "+44 20 7946 0201", store=store).out


def test_dids_are_added_changed_and_removed(store: Path) -> None:
    call = ("identify", "src_ip=198.51.100.110", "src_number=442079460950", "dst_number=44", "--json")
    assert run(*call, store=store).json["reason"] == "src_not_allowed"
    done("dids", "add", "number=+44 20 7946 0950", "account_id=181", store=store)
    assert run(*call, store=store).json["accepted"] is True
    said = done("dids", "set", "+44 20 7946 0950", "status=blocked", store=store)
    assert 'did 442079460950 changed: status "active" -> "blocked"' in said.out
    assert run(*call, store=store).json["reason"] == "src_not_allowed"
    assert run("dids", "remove", "442079460950", store=store).status == 1
    done("dids", "remove", "442079460950", "--yes", store=store)
    assert run("dids", "show", "442079460950", store=store).status == 1


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ("add", "number=442079460201", "account_id=101"),
            "number: DID 442079460201 already belongs to account 181",
        ),
        (("add", "number=442079460951", "account_id=9999"), "account_id: no account 9999 in the book"),
        (("add", "number=---", "account_id=101"), "command line: number: "),
        (("set", "442079460201", "status=lost"), "command line: status: "),
        (("set", "442079460201", "number=1"), "command line: number: "),
        (("show", "442079460299"), "no DID 442079460299 in the book. Use `identengine dids search 4420794602`"),
        (("show", "+"), 'expected a number, got "+"'),
        (("list", "--account", "9999"), "no account 9999"),
    ],
)
def test_what_dids_refuse(store: Path, command: tuple[object, ...], said: str) -> None:
    result = run("dids", *command, store=store)
    assert result.status == 1
    assert said in result.err
    assert len(done("versions", "--json", store=store).json) == 1


def test_dids_of_a_client(store: Path) -> None:
    def numbers(*words: object) -> set[str]:
        return {did["number"] for did in done("dids", "list", *words, "--json", store=store).json}

    assert numbers("--client", 22) == numbers("--client", "Marigold Insurance") >= numbers("--account", 181)
    assert numbers("--client", 22, "--account", 181) == numbers("--account", 181)
    assert numbers("--client", 1, "--account", 181) == set()
    assert numbers("--client", 22, "--status", "on_hold") < numbers("--client", 22)
    assert run("dids", "list", "--client", "Nobody", store=store).status == 1


@pytest.mark.parametrize(("word", "meant"), [("disable", "block"), ("enable", "unblock")])
def test_a_client_is_not_disabled_but_blocked(store: Path, word: str, meant: str) -> None:
    said = run("clients", word, 6, store=store)
    assert said.status == 2
    assert f"Did you mean '{meant}'?" in said.err
