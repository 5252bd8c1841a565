"""Lists of accounts, clients and DIDs: filters, order, columns, CSV, search, and the table of a terminal."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT
from support.cli import demo_store, done, run

PROGRAM = [sys.executable, "-m", "identengine"]
SCREENS = Path(__file__).with_name("lists")
"""The lists of the demo's book as a terminal shows them. A changed list writes FILE.new next to its file."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the demo's book. No test here changes it."""
    return demo_store(tmp_path_factory.mktemp("lists"))


def keys(store: Path, *words: object) -> list[object]:
    key = "number" if words[0] == "dids" else "id"
    return [row[key] for row in done(*words, "--json", store=store).json]


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ("--client 9 --client 10 --client 11 --ident-by ip", [111, 112, 113, 197]),
        ("--inside 192.0.2.0/26", [101, 102, 103, 104, 106, 107]),
        ("--inside 192.0.2.11", [106]),
        ("--inside 2001:db8:10::/48", [191, 192, 193]),
        ("--inside ::ffff:198.51.100.120/124", [183, 185, 194]),
        ("--address 192.0.2.11 --address 198.51.100.30 --prefix none", [106]),
        ("--number 442079460801 --number +447700900123", [171, 172]),
        ("--gateway lon-gw1", [125, 171]),
        ("--gateway lon-*", [103, 125, 171]),
        ("--gateway none --ident-by ani --status orig", [172]),
        ("--protocol sip --status orig", [123, 127]),
        ("--protocol none --port 5070", [202]),
        ("--port 5060 --port 5080 --status orig", [121, 122, 210]),
        ("--prefix 77#", [102]),
        ("--prefix 90 --prefix +901#", [112, 113]),
        ("--ident-by ani --status orig", [171, 172, 173]),
        ("--src-policy reject", [181, 184]),
        ("--tag hub --tag PREMIUM", [102, 111, 112, 113]),
        ("--tag none --client 1", [104, 105, 107]),
        ("--tag *premium", [102, 202]),
        ("--name pennyfield*", [141, 142, 144, 214]),
        ("--name FRONTDESK", [162, 163]),
        ("--name northwind --client 1", []),
        ("--rate-table nw-wholesale --status enabled", [101, 103, 104, 105, 106]),
        ("--rate-table HL-Inbound", [198]),
        ("--rate-table none", [212]),
        ("--routing-plan LCR-Nordic", [194, 195]),
        ("--routing-plan none", [151, 153, 211]),
        ("--status blocked --status disabled", [107, 151, 152, 153, 211, 212]),
    ],
)
def test_filters_of_accounts(store: Path, filters: str, wanted: list[int]) -> None:
    assert keys(store, "accounts", "list", *filters.split()) == wanted


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("clients list --name north*", [1]),
        ("clients list --status blocked", [6, 7]),
        ("clients list --reseller 3 --reseller 7", [4, 8]),
        ("clients list --rate-table pf-agents", [4, 5]),
        ("clients list --rate-table KT-AZ", [13]),
        ("clients list --routing-plan none", [6, 13, 14]),
        ("clients search blocked", [6, 7, 8]),
        ("clients search castlegate", [3, 4, 5]),
        ("clients search lcr-pacific", [12]),
        ("dids list --client 22 --client 12 --status on_hold", ["442079460205"]),
        ("dids list --account 182 --account 181 --number 4420 --status on_hold", ["442079460205"]),
        ("dids list --number 442079460100-442079460102", ["442079460100", "442079460101", "442079460102"]),
        ("dids search marigold on_hold", ["442079460205"]),
    ],
)
def test_filters_of_clients_and_dids(store: Path, words: str, wanted: list[object]) -> None:
    assert keys(store, *words.split()) == wanted


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--inside", "10.1", "expected an IPv4 address of four parts"),
        ("--port", "70000", "expected a port from 1 to 65535, or none"),
        ("--prefix", "", "expected a number"),
        ("--number", " ", "expected a number"),
        ("--tag", "", "expected a text, or none for a column that is not set"),
        ("--ident-by", "mac", 'expected "ip", "name" or "ani"'),
        ("--src-policy", "rejects", 'did you mean "reject"'),
        ("--status", "on", 'expected "enabled", "disabled", "orig", "term" or "blocked"'),
        ("--sort", "prize", "expected a column"),
        ("--sort", "orig_tagg", 'did you mean "orig_tag"'),
        ("--sort", "id:down", 'expected "asc" or "desc" after the colon'),
        ("--columns", ",", "expected a column"),
        ("--columns", "id,nmae", 'got "nmae"; did you mean "name"'),
    ],
)
def test_a_wrong_value_is_located(store: Path, option: str, value: str, why: str) -> None:
    result = run("accounts", "list", option, value, store=store, env={"COLUMNS": "400"})
    assert result.status == 2
    assert f"Invalid value for {option}: {why}" in result.err.replace("│ ", "") or why in result.err


def test_an_unknown_client_is_an_error_and_a_filter_without_a_match_is_not(store: Path) -> None:
    assert run("accounts", "list", "--client", "Nortwind Telecom", store=store).status == 1
    none = run("accounts", "list", "--rate-table", "no-such-table", store=store)
    assert (none.status, none.out, none.err) == (0, "", "no account matches\n")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("NW-Wholesale", "roaming"), [104, 105]),  # inherited
        (("disabled",), [107, 211]),
        (("blocked",), [151, 152, 153, 183, 212]),
        (("lds-gw1",), [126]),
        (("4420794602",), [181]),  # the beginning of a DID
        (("+44 20 7946 0801",), [171]),
        (("enabled", "northwind", "backup"), [106]),
    ],
)
def test_search(store: Path, words: tuple[str, ...], wanted: list[int]) -> None:
    assert keys(store, "accounts", "search", *words) == wanted


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("accounts list --client 1 --sort -id", [107, 106, 105, 104, 103, 102, 101]),
        ("accounts list --client 1 --sort id:desc --limit 2", [107, 106]),
        ("accounts list --client 1 --sort ident --limit 3", [105, 104, 101]),  # /25, /26, then the address
        ("accounts list --client 1 --sort -tech_prefix --limit 4", [104, 102, 105, 101]),  # unset is last
        ("accounts list --client 1 --client 9 --sort -client,account", [106, 101, 102, 103, 105, 104, 107, 111]),
        ("accounts list --status term --sort -term_capacity --limit 2 --offset 1", [202, 209]),
        ("accounts search pennyfield --sort Account", [144, 142, 141, 214]),
        ("accounts list --client 1 --sort orig_details", [104, 105, 106, 102, 101, 103, 107]),  # off is last
        ("accounts list --client 14 --client 6 --sort -rate_table", [203, 204, 213, 151, 153, 212]),
        ("clients list --sort -capacity --limit 2", [1, 9]),
        ("dids list --sort number:desc --limit 1", ["61255500177"]),
    ],
)
def test_order(store: Path, words: str, wanted: list[object]) -> None:
    found = keys(store, *words.split())
    assert found == wanted


def test_addresses_are_sorted_as_addresses_and_numbers_as_numbers(store: Path) -> None:
    rows = done("accounts", "list", "--ident-by", "ip", "--sort", "ident", "--json", store=store).json
    first = [row["ident"][0] for row in rows]
    assert first.index("198.51.100.41") < first.index("198.51.100.110") < first.index("2001:db8:10::/48")
    rows = done("accounts", "list", "--sort", "orig_capacity", "--json", store=store).json
    capacities = [row["orig_capacity"] for row in rows]
    known = [value for value in capacities if value is not None]
    assert known == sorted(known)
    assert capacities[: len(known)] == known


def test_columns_of_the_list_and_of_the_book(store: Path) -> None:
    shown = done("accounts", "list", "--client", 8, "--columns", "ID,Name/ANI/IP,orig_tag,status", store=store).out
    assert shown == " ID  Name/ANI/IP        orig_tag  Status\n152  ip: 198.51.100.91            blocked\n"
    chosen = ("--columns", "id,ident,client,orig_tag,password")
    assert done("accounts", "list", "--client", 8, *chosen, "--json", store=store).json == [
        {
            "id": 152,
            "ident": ["198.51.100.91"],
            "client": "8 Tideway Minicabs (below blocked Old Quay Telecom)",
            "orig_tag": None,
            "password": False,
        }
    ]
    secret = done("accounts", "list", "--name", "belvedere", "--columns", "password", store=store).out
    assert secret.split() == ["password", "set"]


def test_csv_is_rfc_4180_with_the_columns_of_the_book(store: Path) -> None:
    words = [*PROGRAM, "accounts", "list", "--csv", "--store", str(store)]
    out = subprocess.run(words, capture_output=True, check=True).stdout.decode()
    assert out.count("\r\n") == out.count("\n") == 69
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert len(rows) == 68
    assert "password" not in rows[0]
    with (ROOT / "data" / "book" / "accounts.csv").open(newline="") as file:
        columns = next(csv.reader(file))
    assert list(rows[0]) == [column for column in columns if column != "password"]
    backup = next(row for row in rows if row["id"] == "106")
    assert (backup["ident"], backup["orig_cps"], backup["orig_enabled"]) == (
        "192.0.2.11;192.0.2.12;192.0.2.13",
        "20",
        "true",
    )
    assert "enc:" not in out


def test_csv_of_columns_of_the_list_has_those_of_the_book_instead(store: Path) -> None:
    words = ("--columns", "id,client,account,name/ani/ip,id,status", "--csv")
    out = done("accounts", "list", "--client", 8, *words, store=store).out
    assert out == "id,client_id,name,ident_by,ident,status\n152,8,Tideway dispatch,ip,198.51.100.91,blocked\n"
    out = done("clients", "list", "--name", "Tideway*", "--columns", "client,rate_table", "--csv", store=store).out
    assert out == "name,rate_table\nTideway Minicabs,\n"  # its own table, not the inherited one
    empty = done("dids", "list", "--account", 102, "--csv", store=store)
    assert empty.out == "number,account_id,status\n"


def test_csv_never_has_a_password_and_excludes_json(store: Path) -> None:
    result = run("accounts", "list", "--csv", "--columns", "id,password", store=store, env={"COLUMNS": "200"})
    assert (result.status, result.out) == (2, "")
    assert "expected columns without password" in result.err
    assert run("accounts", "list", "--csv", "--json", store=store).status == 2


def test_csv_guards_spreadsheets_against_formulas(tmp_path: Path) -> None:
    store = demo_store(tmp_path)
    name = '=HYPERLINK("http://192.0.2.1","x")'
    done("accounts", "set", 101, f"name={name}", "notes=-1+2", "orig_tag=@x", store=store)
    out = done("accounts", "list", "--client", 1, "--limit", 1, "--csv", store=store).out
    (row,) = csv.DictReader(io.StringIO(out, newline=""))
    assert (row["name"], row["notes"], row["orig_tag"]) == (f"'{name}", "'-1+2", "'@x")


def test_csv_is_read_back_without_a_change(tmp_path: Path) -> None:
    store, book = demo_store(tmp_path), tmp_path / "book"
    book.mkdir()
    done("accounts", "set", 101, "name==1+1", "notes='quoted", "tech_prefix=++7", "orig_cps=2.5", store=store)
    done("clients", "set", 2, 'name=@Acme; "Ltd", 電話', "orig_cps=0.5", store=store)
    for family in ("clients", "accounts", "dids"):
        (book / f"{family}.csv").write_text(done(family, "list", "--csv", store=store).out)
        edited = done(family, "edit", "--from", book / f"{family}.csv", "--dry-run", "--json", store=store).json
        assert edited["changes"] == []
    imported = done("import", book, "--dry-run", "--json", store=store).json
    assert imported["changes"] == []


@pytest.mark.parametrize(
    ("family", "width"),
    [("accounts", 80), ("accounts", 100), ("accounts", 140), ("clients", 80), ("dids", 80)],
)
def test_the_table_of_a_terminal(store: Path, family: str, width: int) -> None:
    shown = run(family, "list", store=store, screen=width).out
    assert max(map(len, shown.splitlines())) <= width
    assert "\x1b" not in shown
    path = SCREENS / f"{family}-{width}.txt"
    if not path.exists() or path.read_text() != shown:
        path.with_suffix(".txt.new").write_text(shown)
    assert shown == path.read_text()


def test_eighty_columns_have_the_seven_columns_of_the_list(store: Path) -> None:
    title = run("accounts", "list", "--client", 1, store=store, screen=80).out.splitlines()[0]
    titles = ["ID", "Client", "Account", "Name/ANI/IP", "Tech Prefix", "Orig Details", "Term Details"]
    assert re.findall("|".join(titles), title) == titles
    assert re.sub(r"\s", "", title) == "".join(titles).replace(" ", "")


def test_a_long_list_of_idents_is_short_on_a_terminal_and_whole_in_a_pipe(tmp_path: Path) -> None:
    store = demo_store(tmp_path)
    done("accounts", "set", 101, "ident=10.0.0.1;10.0.0.2;10.0.0.3;10.0.0.4", store=store)
    only = ("accounts", "list", "--name", "Northwind London")
    assert "10.0.0.1 +3 more" in " ".join(run(*only, store=store, screen=80).out.split())
    assert "ip: 10.0.0.1; 10.0.0.2; 10.0.0.3; 10.0.0.4" in done(*only, store=store).out


def test_the_rest_of_a_list_is_counted(store: Path) -> None:
    more = run("accounts", "list", "--limit", 10, store=store)
    assert more.err == "58 more rows; --offset 10 shows the next rows, --limit 0 shows all\n"
    more = run("accounts", "list", "--limit", 3, "--offset", 3, "--client", 1, "--sort", "name", store=store)
    assert more.err == "1 more row; --offset 6 shows the next rows, --limit 0 shows all\n"
    assert run("accounts", "list", "--limit", 7, "--client", 1, store=store).err == ""
    assert run("accounts", "list", "--limit", 0, store=store).err == ""


def test_colours_mark_words_and_are_absent_in_a_pipe(store: Path) -> None:
    forced = {"FORCE_COLOR": "1", "NO_COLOR": "", "TERM": "xterm"}
    out = run("accounts", "list", "--client", 1, "--client", 8, store=store, env=forced).out
    assert "\x1b[90mNorthwind test rack (disabled)\x1b[0m" in out
    assert "\x1b[33m8 Tideway Minicabs (below blocked Old Quay Telecom)\x1b[0m" in out
    assert "\x1b" not in done("accounts", "list", store=store).out
    failed = run("accounts", "show", "zzz", store=store, env=forced).err
    assert failed.startswith("\x1b[91mno account")
    shown = run("accounts", "show", 107, store=store, env=forced).out
    assert "\x1b[90mdisabled: both parts are off\x1b[0m" in shown
    coloured = {"NO_COLOR": "", "TERM": "xterm"}
    assert "\x1b[1m" in run("accounts", "list", "--client", 1, store=store, screen=80, env=coloured).out
    assert "\x1b" not in run("accounts", "list", store=store, screen=80, env={"NO_COLOR": "", "TERM": "dumb"}).out
