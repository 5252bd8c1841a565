"""``identengine accounts …`` with the demo's book."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from support.cli import config_with, demo_store, done, run

from identengine.store.draft import Draft
from identengine.store.versions import Store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return demo_store(tmp_path)


def ids(store: Path, *filters: object) -> list[int]:
    return [account["id"] for account in done("accounts", "list", *filters, "--json", store=store).json]


def test_list_has_its_columns_and_one_line_an_account(store: Path) -> None:
    lines = done("accounts", "list", store=store).out.splitlines()
    titles = "ID Client Account Name/ANI/IP Tech~Prefix Orig~Details Term~Details Rate~Table Routing~Plan"
    at = [lines[0].index(title.replace("~", " ")) for title in titles.split()]
    assert at == sorted(at)
    assert len(lines) == 1 + 68
    assert all("\x1b" not in line and "…" not in line for line in lines)
    premium = next(line for line in lines if line.startswith("102 "))
    for part in (
        "1 Northwind Telecom",
        "Northwind London premium",
        "ip: 192.0.2.10",
        "77#",
        "on, tag premium",
        "off",
    ):
        assert part in premium
    assert premium.rstrip().endswith("LCR-Premium")
    inherited = next(line for line in lines if line.startswith("101 "))
    assert "NW-Wholesale (inherited)" in inherited
    blocked = next(line for line in lines if line.startswith("152 "))
    assert "8 Tideway Minicabs (below blocked Old Quay Telecom)" in blocked


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        (("--client", 9), [111]),
        (("--client", "northwind telecom", "--status", "disabled"), [107]),
        (("--address", "192.0.2.10"), [101, 102, 103, 104, 105]),
        (("--address", "192.0.2.0/26"), [104, 105]),
        (("--address", "::ffff:192.0.2.11"), [104, 105, 106]),
        (("--address", "198.51.100.130"), [195]),
        (("--address", "2001:db8:10:1::5"), [191, 192, 193]),
        (("--number", "+44 20 7946 0801"), [171]),
        (("--number", "+44 113 496 0110"), [141]),
        (("--number", "901#44"), [111, 112, 113]),
        (("--tag", "HUB"), [111, 112, 113]),
        (("--tag", "aurora-out"), [209]),
        (("--status", "blocked"), [151, 152, 153, 212]),
        (("--status", "disabled"), [107, 211]),
        (("--client", "aurora interconnect", "--status", "term"), [209, 210]),
        (("--status", "orig", "--address", "203.0.113.100"), [209]),
        (("--limit", 2, "--offset", 1), [102, 103]),
        (("--status", "enabled", "--client", 13), [201, 202]),
    ],
)
def test_filters(store: Path, filters: tuple[object, ...], wanted: list[int]) -> None:
    assert ids(store, *filters) == wanted


def test_a_filter_that_fits_nothing_is_an_empty_answer(store: Path) -> None:
    assert done("accounts", "list", "--tag", "nobody", "--json", store=store).json == []
    said = done("accounts", "list", "--tag", "nobody", store=store)
    assert (said.out, said.err) == ("", "no account matches\n")


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--address", "10.1", "four parts"),
        ("--address", "192.0.2.1:5060", "without a port"),
        ("--status", "on", "enabled"),
        ("--limit", "-1", "limit"),
    ],
)
def test_an_unusable_filter_is_wrong_usage(store: Path, option: str, value: str, why: str) -> None:
    said = run("accounts", "list", option, value, store=store)
    assert said.status == 2
    assert why in said.err


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("northwind", "PREMIUM"), [102]),
        (("registrar.larkspur",), [208]),
        (("Ironbridge Freight",), [123, 124, 196, 199]),  # the client's name
        (("+44-7700-900123",), [172]),  # in the normal form of the book
        (("pennyfield", "orig_tag"), []),  # names of columns are not searched
    ],
)
def test_search(store: Path, words: tuple[str, ...], wanted: list[int]) -> None:
    found = done("accounts", "search", *words, "--json", store=store).json
    assert [account["id"] for account in found] == wanted


def test_passwords_are_found_and_listed_nowhere(store: Path) -> None:
    assert done("accounts", "search", "kettle-Orchard-41", "--json", store=store).json == []
    assert done("accounts", "search", "enc:", "--json", store=store).json == []
    for command in (("accounts", "list"), ("accounts", "show", 142), ("audit",), ("diff", 0, 1)):
        for as_json in ((), ("--json",)):
            out = done(*command, *as_json, store=store).out
            assert "enc:" not in out
            assert "kettle-Orchard-41" not in out


def test_show_tells_everything(store: Path) -> None:
    shown = dict(line.split("  ", 1) for line in done("accounts", "show", 141, store=store).out.splitlines())
    shown = {name: value.strip() for name, value in shown.items()}
    assert shown["client"] == "5 Pennyfield Leeds"
    assert shown["resellers"] == "4 Pennyfield Contact Centres < 3 Castlegate Communications"
    assert shown["orig_rate_table"] == "PF-Agents (from client 4 Pennyfield Contact Centres)"
    assert shown["orig_routing_plan"] == "LCR-Premium (from client 3 Castlegate Communications)"
    assert shown["password"] == "not set"
    assert shown["DIDs"].startswith("12: 441134960110 (active), ")
    assert shown["DIDs"].endswith("and 2 more")
    assert "by tester: import" in shown["last changed"]


def test_show_as_json(store: Path) -> None:
    shown = done("accounts", "show", "Pennyfield Leeds dialler", "--json", store=store).json
    assert (shown["id"], shown["password"], shown["ident"]) == (142, True, ["pennyfield-leeds"])
    assert [client["id"] for client in shown["resellers"]] == [4, 3]
    assert shown["inherited"]["routing_plan"] == {"value": "LCR-Premium", "client_id": 3}
    assert shown["dids"] == {"count": 0, "first": []}
    assert shown["last_change"]["who"] == "tester"


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("9999", "no account 9999 in the book; did you mean 212 Bluefin overflow, 213"),
        ("nortwind london", 'no account "nortwind london" in the book; did you mean 101 Northwind London'),
        ("zzzz", "Use `identengine accounts list` to show all"),
    ],
)
def test_an_account_that_is_not_there(store: Path, wanted: str, said: str) -> None:
    for command in (("show", wanted), ("set", wanted, "notes=x"), ("disable", wanted), ("remove", wanted)):
        result = run("accounts", *command, store=store)
        assert result.status == 1
        assert said in result.err
        assert result.out == ""


def test_add_takes_the_next_free_id_and_is_served_at_once(store: Path) -> None:
    added = done("accounts", "add", "client_id=1", "name=Lab", "ident_by=ip", "ident=192.0.2.77", store=store)
    assert added.out == "version 2\naccount 215 added: Lab\n"
    found = done("identify", "src_ip=192.0.2.77", "dst_number=44", "--json", store=store).json
    assert (found["account_id"], found["version"]) == (215, 2)


def test_add_warns_as_an_import_does(store: Path) -> None:
    added = done(
        "accounts", "add", "id=900", "client_id=1", "name=Lab", "ident_by=ip", "ident=192.0.2.77/30", store=store
    )
    assert "warning: command line: ident: " in added.err


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (("name=x", "ident_by=ip", "ident=192.0.2.1"), "command line: client_id: "),
        (
            ("client_id=1", "name=x", "ident_by=ip", "ident=10.1"),
            "command line: ident: ",
        ),
        (("client_id=1", "name=x", "ident_by=upi", "ident=x"), "command line: ident_by: "),
        (("client_id=77", "name=x", "ident_by=name", "ident=x"), "client_id: no client 77 in the book"),
        (("id=101", "client_id=1", "name=x", "ident_by=name", "ident=x"), "id: account 101 exists"),
    ],
)
def test_mistakes_are_located_on_the_command_line(store: Path, columns: tuple[str, ...], said: str) -> None:
    result = run("accounts", "add", *columns, store=store)
    assert result.status == 1
    assert said in result.err
    assert "nothing was changed" in result.err
    assert "secret" not in result.err
    assert len(done("versions", "--json", store=store).json) == 1


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (("client=1",), 'client: no such column; did you mean "client_id"?'),
        (("name=x", "name=y"), 'name: expected once, got a second value, "y"'),
        (("frobnicate",), 'expected COLUMN=VALUE, for example name=Acme, got "frobnicate"'),
        (("password=secret",), "password: other users can read"),
    ],
)
def test_arguments_that_are_no_columns_are_wrong_usage(store: Path, columns: tuple[str, ...], said: str) -> None:
    for command in (("accounts", "set", 101), ("accounts", "add")):
        result = run(*command, *columns, store=store, env={"COLUMNS": "200"})
        assert result.status == 2
        assert said in result.err
        assert "secret" not in result.err
    assert run("clients", "set", 1, "junk", store=store).status == 2
    assert run("dids", "add", "junk", store=store).status == 2
    assert len(done("versions", "--json", store=store).json) == 1


def test_an_offset_beyond_the_end_says_so(store: Path) -> None:
    for table, word in (("accounts", "account"), ("clients", "client"), ("dids", "DID")):
        said = done(table, "list", "--offset", 999, store=store)
        assert (said.out, said.err) == ("", f"--offset 999 skips every {word} that matches\n")
    assert done("accounts", "list", "--tag", "nobody", store=store).err == "no account matches\n"


def test_all_mistakes_are_told_at_once_and_counted(store: Path) -> None:
    said = run("accounts", "set", 101, "orig_capacity=-3", "src_policy=foo", "ident=", store=store)
    assert said.status == 1
    assert said.err.splitlines()[-1] == "3 mistakes; nothing was changed"
    assert len(said.err.splitlines()) == 4
    as_json = run("accounts", "set", 101, "orig_capacity=-3", "src_policy=foo", "ident=", "--json", store=store)
    assert as_json.out == ""
    error = json.loads(as_json.err)["error"]
    assert (error["total"], [problem["column"] for problem in error["problems"]]) == (
        3,
        ["orig_capacity", "src_policy", "ident"],
    )


def test_set_changes_what_is_named_and_clears_what_is_empty(store: Path) -> None:
    changed = done("accounts", "set", 102, "orig_tag=gold", "orig_rate_table=", store=store)
    assert 'orig_rate_table "NW-Premium" -> not set, orig_tag "premium" -> "gold"' in changed.out
    shown = done("accounts", "show", 102, "--json", store=store).json
    assert (shown["orig_tag"], shown["orig_rate_table"], shown["tech_prefix"]) == ("gold", None, "77#")
    again = done("accounts", "set", 102, "orig_tag=gold", store=store)
    assert again.out == "nothing to change\n"
    assert run("accounts", "set", 102, "id=103", store=store).status == 1


def test_disable_and_enable_parts(store: Path) -> None:
    done("accounts", "disable", 209, "--term", store=store)
    assert done("accounts", "show", 209, "--json", store=store).json["term_enabled"] is False
    done("accounts", "enable", 209, "--term", store=store)
    done("accounts", "disable", 209, store=store)
    done("accounts", "disable", 201, store=store)
    assert ids(store, "--status", "disabled") == [107, 201, 209, 211]
    # Each account gets back the parts that were on before: both of the first, the terminator of the second.
    done("accounts", "enable", 209, store=store)
    done("accounts", "enable", 201, store=store)
    both = done("accounts", "show", 209, "--json", store=store).json
    vendor = done("accounts", "show", 201, "--json", store=store).json
    assert (both["orig_enabled"], both["term_enabled"]) == (True, True)
    assert (vendor["orig_enabled"], vendor["term_enabled"]) == (False, True)
    assert done("accounts", "enable", 201, store=store).out == "nothing to change\n"


def test_an_account_that_was_never_on_is_enabled_as_originator(store: Path) -> None:
    done("accounts", "enable", 107, store=store)
    shown = done("accounts", "show", 107, "--json", store=store).json
    assert (shown["orig_enabled"], shown["term_enabled"]) == (True, False)


def test_remove_takes_the_dids_too_and_wants_yes(store: Path) -> None:
    asked = run("accounts", "remove", 181, store=store)
    assert asked.status == 1
    assert "account 181 would be removed" in asked.out
    assert "did 442079460201 would be removed" in asked.out
    as_json = run("accounts", "remove", 181, "--json", store=store)
    assert (as_json.status, as_json.json["dry_run"], as_json.json["version"]) == (1, True, None)
    assert "--yes" in asked.err
    assert 181 in ids(store)
    removed = done("accounts", "remove", 181, "--yes", "--json", store=store).json
    assert removed["version"] == 2
    assert [change["table"] for change in removed["changes"]] == ["account", *["did"] * 5]
    assert 181 not in ids(store)
    assert done("dids", "search", "44207946020", "--json", store=store).json == []


def test_password_of_an_account(store: Path) -> None:
    show = ("accounts", "password", "show", 142)
    assert done(*show, store=store).out == "kettle-Orchard-41\n"
    done("accounts", "password", "set", 142, store=store, stdin=" blank at both ends \n")
    assert done(*show, "--json", store=store).json == {"account_id": 142, "password": " blank at both ends "}
    made = done("accounts", "password", "generate", 142, store=store).out.strip()
    assert len(made) >= 16
    assert done(*show, store=store).out == f"{made}\n"
    assert run("identify", "name=pennyfield-leeds", f"password={made}", "dst_number=44", store=store).status == 0
    done("accounts", "password", "clear", 142, store=store)
    gone = run(*show, store=store)
    assert (gone.status, gone.err) == (1, "account 142 Pennyfield Leeds dialler has no password\n")

    log = done("audit", "--account", 142, store=store).out
    assert log.count("password shown") == 3
    assert "password set" in log
    assert made not in log


@pytest.mark.parametrize("given", ["", "\n", "-\n", "enc:abc\n", "tab\tinside\n"])
def test_passwords_that_cannot_be_kept(store: Path, given: str) -> None:
    said = run("accounts", "password", "set", 142, store=store, stdin=given)
    assert said.status == 1
    assert said.err
    assert "inside" not in said.err
    assert done("accounts", "password", "show", 142, store=store).out == "kettle-Orchard-41\n"


def test_no_new_key_is_made_where_passwords_are_kept(store: Path) -> None:
    key = store.with_name("store.key")
    key.rename(store.with_name("elsewhere.key"))
    for command in (("set", 142), ("generate", 142), ("show", 142)):
        said = run("accounts", "password", *command, store=store, stdin="new\n")
        assert said.status == 1
        assert str(key) in said.err
    assert not key.exists()
    elsewhere = ("--key-file", store.with_name("elsewhere.key"))
    assert done("accounts", "password", "show", 142, *elsewhere, store=store).out == "kettle-Orchard-41\n"


def test_keys_from_the_environment_and_the_config(store: Path, tmp_path: Path) -> None:
    key = store.with_name("store.key").rename(tmp_path / "other.key")
    show = ("accounts", "password", "show", 142)
    by_text = run(*show, store=store, env={"IDENTENGINE_KEY": key.read_text().strip()})
    by_file = run(*show, store=store, env={"IDENTENGINE_KEY_FILE": str(key)})
    config = config_with(tmp_path, 'key_file = "other.key"\n')
    by_config = run(*show, "--config", config)
    by_env_config = run(*show, env={"IDENTENGINE_CONFIG": str(config)})
    for said in (by_text, by_file, by_config, by_env_config):
        assert said.out == "kettle-Orchard-41\n", said


def test_who_changed_it(store: Path) -> None:
    def last() -> str:
        return str(done("versions", "--json", store=store).json[0]["who"])

    run("accounts", "set", 101, "notes=a", store=store, env={"SUDO_USER": "alice"})
    assert last() == "alice"
    done("accounts", "set", 101, "notes=b", "--who", "ticket 17", store=store)
    assert last() == "ticket 17"


def test_names_from_a_book_do_not_steer_the_terminal(store: Path) -> None:
    with Store.open(store) as opened:

        def edit(draft: Draft) -> None:
            before = draft.account(101)
            assert before is not None
            draft.put_account(msgspec.structs.replace(before, name="\x1b[2Jgone"))

        opened.change("test", "by hand", edit)
    out = done("accounts", "show", 101, store=store).out + done("accounts", "list", store=store).out
    assert "\x1b" not in out
    assert "\\x1b[2Jgone" in out
