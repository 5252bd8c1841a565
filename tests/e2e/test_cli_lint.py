"""``identengine lint``, and the findings that imports, edits and ``revert`` bring."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from support.cli import config_with, demo_store, done, run

from identengine.model.records import Account, Client, IdentBy
from identengine.store.draft import Draft
from identengine.store.versions import Store

CLIENTS = "id,name,rate_table\n1,one,retail\n2,two,retail\n"
TRUNK, OFFICE = "1,1,trunk,ip,192.0.2.5,", "2,1,office,ip,192.0.2.0/24,7#"
NEW = "3,2,new,ip,192.0.2.5,"
ACCOUNTS = "id,client_id,name,ident_by,ident,tech_prefix\n"
FINDING = {"check", "severity", "message", "accounts", "clients", "numbers", "count", "example", "remedy"}


def book(folder: Path, *accounts: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "clients.csv").write_text(CLIENTS)
    (folder / "accounts.csv").write_text(ACCOUNTS + "".join(f"{line}\n" for line in accounts))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one account at 192.0.2.5, and a network around it."""
    path = tmp_path / "small"
    rows = book(tmp_path / "book", TRUNK, OFFICE)
    done("import", rows, store=path)
    return path


def checks(findings: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(one["check"], one["accounts"]) for one in findings]


def test_the_findings_of_the_demo_book_are_deliberate(tmp_path: Path) -> None:
    said = run("lint", "--json", store=demo_store(tmp_path))
    assert said.status == 1
    assert "covers_switch was skipped" in said.err
    found = said.json
    assert found["version"] == 1
    assert found["skipped"] == ["covers_switch"]
    assert all(set(one) == FINDING for one in found["findings"])
    assert checks(found["findings"]) == [
        ("tie", [131, 132]),
        ("own_constraint", [210]),
        ("tie", [133, 134]),
        ("shadowed", [132]),
        ("shadowed", [134]),
        ("no_dids", [183]),
        ("no_password", [164]),
        ("ani_without_gateway", [172]),
        ("prefix_begins_number", [112]),
        ("unreachable_vendor", [213]),
        ("never_pays", [212]),
        ("zero_limit", [197]),
    ]


def test_every_example_of_the_demo_book_can_be_explained(tmp_path: Path) -> None:
    store = demo_store(tmp_path)
    for one in run("lint", "--json", store=store).json["findings"]:
        if one["example"] is not None:
            fields = [f"{name}={value}" for name, value in one["example"].items()]
            explained = run("explain", *fields, "--json", store=store).json
            assert {each["account_id"] for each in explained["candidates"]} | {
                explained["decision"].get("account_id")
            } >= set(one["accounts"])


def test_the_table_has_each_check_with_its_count_and_remedy(tmp_path: Path) -> None:
    said = run("lint", "--check", "tie", "--check", "zero_limit", store=demo_store(tmp_path))
    assert said.status == 1
    lines = said.out.splitlines()
    assert lines[0] == "error: tie: Accounts that are equal in everything except the id: 2 accounts"
    assert "src_ip=198.51.100.50 dst_number=442079460123" in lines[2]
    assert lines[3].startswith("Remedy: Give the accounts different tech prefixes")
    assert lines[-1] == "1 error, 1 warning, 1 info"


def test_the_least_severity_decides_what_is_shown_and_the_exit_status(tmp_path: Path) -> None:
    store = demo_store(tmp_path)
    assert {
        one["severity"] for one in run("lint", "--severity", "error", "--json", store=store).json["findings"]
    } == {"error"}
    shown = run("lint", "--severity", "warning", "--check", "zero_limit", store=store)
    assert (shown.status, shown.out) == (0, "no findings\n")
    assert run("lint", "--check", "no_dids", store=store).status == 0


def test_an_unknown_check_is_named_with_the_nearest(tmp_path: Path) -> None:
    said = run("lint", "--check", "shadow", store=demo_store(tmp_path))
    assert said.status == 2
    assert "did you mean" in said.err
    assert '"shadowed"' in said.err


def test_the_options_of_the_config_count(store: Path, tmp_path: Path) -> None:
    text = '[[switch]]\nname = "sbc1"\naddresses = ["192.0.2.5"]\ntrusted_network = true\n'
    said = done("lint", "--json", "--config", config_with(tmp_path, text), store=store)
    assert said.json["skipped"] == []
    assert checks(said.json["findings"]) == [("covers_switch", [1]), ("covers_switch", [2])]


def test_an_account_that_another_clients_account_shadows_is_reported_when_it_is_added(store: Path) -> None:
    said = done("accounts", "add", "client_id=2", "name=new", "ident_by=ip", "ident=192.0.2.5", store=store)
    assert "error: tie: accounts 1, 3 are equal in everything except the id (192.0.2.5)" in said.err
    assert "warning: shadowed: account 3 (client 2) never gets a call: account 1 (client 1)" in said.err


def test_findings_that_were_there_before_are_not_repeated(store: Path) -> None:
    done("accounts", "add", "client_id=2", "name=new", "ident_by=ip", "ident=192.0.2.5", store=store)
    said = done("accounts", "set", "3", "name=other", "--json", store=store)
    assert said.json["findings"] == []
    said = done("accounts", "disable", "3", "--json", store=store)
    assert said.json["findings"] == []
    said = done("accounts", "enable", "3", "--json", store=store)
    assert checks(said.json["findings"]) == [("tie", [1, 3]), ("shadowed", [3])]


def test_networks_that_come_to_fill_another_one_are_reported(store: Path) -> None:
    add = ("accounts", "add", "client_id=2", "ident_by=ip")
    done(*add, "name=a", "ident=192.0.2.0/25", store=store)
    said = done(*add, "name=b", "ident=192.0.2.128/25", "--json", store=store)
    assert checks(said.json["findings"]) == [("shadowed", [2])]


def test_a_changed_client_or_did_brings_findings(store: Path) -> None:
    said = done("clients", "set", "1", "rate_table=", "capacity=0", "--json", store=store)
    assert [one["check"] for one in said.json["findings"]] == ["never_pays", "zero_limit"]
    assert said.json["findings"][0]["accounts"] == [1, 2]
    done("dids", "add", "number=442079460100", "account_id=1", store=store)
    done("accounts", "set", "1", "src_policy=overwrite", store=store)
    said = done("dids", "set", "442079460100", "status=blocked", "--json", store=store)
    assert checks(said.json["findings"]) == [("no_dids", [1])]
    said = done("dids", "set", "442079460100", "status=active", "--json", store=store)
    assert said.json["findings"] == []


def test_revert_shows_the_findings_that_it_brings(store: Path) -> None:
    done("accounts", "set", "2", "ident=192.0.2.0/25", store=store)
    add = ("accounts", "add", "client_id=2", "name=other", "ident_by=ip")
    done(*add, "ident=192.0.2.0/24", "tech_prefix=7#", store=store)
    said = done("revert", "2", "--yes", "--json", store=store)
    assert checks(said.json["findings"]) == [("tie", [2, 3]), ("shadowed", [3])]


def test_import_shows_the_findings_that_it_brings(store: Path, tmp_path: Path) -> None:
    rows = book(tmp_path / "next", TRUNK, OFFICE, NEW)
    said = done("import", rows, "--dry-run", store=store)
    assert "error: tie: accounts 1, 3 are equal" in said.err
    said = done("import", rows, "--lint", "off", "--dry-run", "--json", store=store)
    assert said.json["findings"] == []
    said = done("import", rows, "--json", store=store)
    assert checks(said.json["findings"]) == [("tie", [1, 3]), ("shadowed", [3])]
    assert said.json["version"] == 2
    said = done("import", rows, "--json", "--lint", "error", store=store)  # the tie is there already
    assert said.json["version"] is None


def test_lint_error_refuses_the_errors_that_an_import_brings(store: Path, tmp_path: Path) -> None:
    rows = book(tmp_path / "next", TRUNK, OFFICE, NEW)
    said = run("import", rows, "--lint", "error", store=store)
    assert said.status == 1
    assert said.err.splitlines()[0].startswith("lint: tie: accounts 1, 3 are equal in everything except the id")
    assert said.err.splitlines()[-1] == "1 mistake; nothing was changed"
    said = run("import", rows, "--lint", "error", "--json", store=store)
    assert (said.status, said.out) == (1, "")
    (problem,) = msgspec.json.decode(said.err)["error"]["problems"]
    assert problem["column"] == "tie"
    assert Store.open(store).head() == 1
    warned = book(tmp_path / "warned", TRUNK + "44", OFFICE)
    assert "prefix_begins_number" in done("import", warned, "--lint", "error", store=store).err


def test_many_changes_are_compared_as_whole_books(store: Path, tmp_path: Path) -> None:
    """More changes than are looked at one by one bring the same findings."""
    lines = [f"{n},1,site {n},ip,198.51.100.{n - 100}," for n in range(101, 300)]
    done("import", book(tmp_path / "many", TRUNK, OFFICE, *lines), store=store)
    lines = [f"{line}9#" for line in lines]
    again = book(tmp_path / "many", f"{TRUNK}9#", OFFICE, *lines, "400,2,new,ip,192.0.2.5,9#")
    said = done("import", again, "--json", store=store)
    assert checks(said.json["findings"]) == [("tie", [1, 400]), ("shadowed", [400])]


@pytest.mark.parametrize(
    ("ident_by", "there", "new"),
    [
        ("ip", "2001:0DB8::5", "2001:db8:0::5"),
        ("ip", "::ffff:192.0.2.77", "192.0.2.77"),
        ("ip", "192.0.2.77", "::ffff:c000:24d"),
        ("ip", "::ffff:c000:24d", "192.0.2.77/32"),
        ("ip", "10.0.0.0/7", "11.0.0.0/7"),
        ("ip", "0.0.0.0/0", "0.0.0.0/0"),
        ("ip", "10.128.0.0/12", "10.143.0.0/12"),
        ("ani", "+44 20 7946 0999", "442079460999"),
        ("name", "front desk", "front desk"),
    ],
)
def test_an_edit_finds_the_accounts_that_overlap(store: Path, ident_by: str, there: str, new: str) -> None:
    add = ("accounts", "add", "client_id=1", f"ident_by={ident_by}", "gateways=G")
    done(*add, "name=there", f"ident={there}", store=store)
    said = done(*add, "name=new", f"ident={new}", "--json", store=store)
    found = checks(said.json["findings"])
    assert (("no_password", [4]) if ident_by == "name" else ("tie", [3, 4])) in found


def test_a_store_without_a_version_has_no_findings(tmp_path: Path) -> None:
    Store.open(tmp_path / "empty", create=True).close()
    said = run("lint", store=tmp_path / "empty")
    assert (said.status, said.out) == (0, "no findings\n")


def test_an_old_version_can_be_checked(store: Path) -> None:
    def add(draft: Draft) -> None:
        draft.put_client(Client(id=9, name="nine", rate_table="r"))
        draft.put_account(Account(id=9, client_id=9, name="nine", ident_by=IdentBy.IP, ident=("192.0.2.5",)))

    Store.open(store).change("test", "added", add)
    assert run("lint", "--json", store=store).status == 1
    said = done("lint", "--version", "1", "--json", store=store)
    assert (said.json["version"], said.json["findings"]) == (1, [])


def test_an_edit_brings_findings_by_the_columns_that_checks_read(tmp_path: Path) -> None:
    store = demo_store(tmp_path)

    def checks(*words: str) -> set[str]:
        result = run("accounts", "set", *words, "--json", store=store)
        assert result.status == 0, result.err
        return {finding["check"] for finding in msgspec.json.decode(result.out)["findings"]}

    assert checks("101", "102", "orig_capacity=0") == {"zero_limit"}
    assert checks("101", "102", "orig_capacity=7", "notes=x", "orig_tag=y", "name=z") == set()
    assert checks("101", "102", "orig_cps=0") == {"zero_limit"}
    assert "tie" in checks("102", "tech_prefix=")
