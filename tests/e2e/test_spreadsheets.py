"""``export --excel`` to LibreOffice and back: an import of the tables that it saves changes nothing."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from random import Random

import pytest
from support.cli import done, run
from support.libreoffice import saved

TABLES = ("clients", "accounts", "dids")
NAMES = (
    "Quote \" comma , apostrophe '",
    "=1+1",
    "+44 sales",
    "-5",
    "@home",
    "'quoted",
    "''twice",
    '="0442"',
    "1-2",
    "3/4",
    "TRUE",
    "false",
    "00123",
    "1E5",
    "12:30",
    "May 5",
    "5%",
    "$5",
    "1,234.50",
    "#N/A",
    "2001:db8::1",
    "semi;colon",
    "Zoë 電話 €",
    "null",
)
"""Names that spreadsheets read as something else, or that need quotes."""
PIECES = (*"0123456789 .,:;/%$€'\"=+-@Ee", "Jan", "March", "am", "EUR", "TRUE", " ", "1/2", "2024-02-03")
"""Parts of random names."""
NOTES = ("two\nlines, 2 commas", "with\r\nCR", "old\rMac", "a\ttab", "=SUM(A1:A9)", "2024-01-05", "9" * 300)
NUMBERS = ("00442079460100", "442079460101", "123456789012345678", "++44", "*55#", "1-2", "0", "1.5")
IDENTS = (
    ("ip", "192.0.2.10"),
    ("ip", "2001:db8::/32;10.0.0.0/8"),
    ("ip", ";".join(f"10.1.{number}.1" for number in range(100))),
    ("ani", "+44;0044;*1#"),
    ("ani", "442079460123"),
    ("name", "0042"),
    ("name", "TRUE;=1;'x"),
)


def write_book(folder: Path) -> None:
    """Write a book whose values a spreadsheet would damage."""
    folder.mkdir()
    clients = [
        {"id": number, "name": name, "parent_id": 1 if number > 1 else None, "orig_cps": 0.1 * number}
        | ({"notes": NOTES[number]} if number < len(NOTES) else {})
        for number, name in enumerate(NAMES, 1)
    ]
    clients[0]["id"] = 1
    random = Random(7)
    clients += [
        {"id": number, "name": "".join(random.choices(PIECES, k=random.randint(1, 5))).strip() or "-"}
        for number in range(1000, 1300)
    ]
    clients.append({"id": 2**63 - 1, "name": "largest", "capacity": 123456789012345, "parent_id": 1})
    accounts = [
        {"id": number, "client_id": number, "name": f"0{number}", "ident_by": kind, "ident": ident.split(";")}
        | {"tech_prefix": NUMBERS[number % len(NUMBERS)], "orig_tag": "1-2", "password": f"s3cret{number}"}
        | {"gateways": ["GW 1", "007"], "term_enabled": number % 2 == 0, "orig_cps": 33.333333333333336}
        for number, (kind, ident) in enumerate(IDENTS, 1)
    ]
    del accounts[0]["password"]
    dids = [{"number": number, "account_id": 1} for number in NUMBERS]
    for name, rows in zip(TABLES, (clients, accounts, dids), strict=True):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a store with the book."""
    write_book(tmp_path / "book")
    done("import", tmp_path / "book", store=tmp_path / "store")
    return tmp_path / "store"


def exported(store: Path, folder: Path) -> list[Path]:
    done("export", folder, "--excel", store=store)
    return [folder / f"{name}.csv" for name in TABLES]


def changed_by_import(folder: Path, store: Path) -> object:
    """Return the version that an import makes, or None if nothing changes, and the warnings about labels."""
    report = json.loads(done("import", folder, "--json", store=store).out)
    labels = [one["expected"] for one in report["warnings"] if str(one["column"]).endswith("_name")]
    return labels or report["version"]


def test_an_import_of_the_export_changes_nothing(store: Path, tmp_path: Path) -> None:
    exported(store, tmp_path / "out")
    assert changed_by_import(tmp_path / "out", store) is None


@pytest.mark.parametrize("through", [("csv",), ("xlsx", "csv")], ids="-".join)
def test_libreoffice_saves_a_book_that_changes_nothing(
    store: Path, tmp_path: Path, through: tuple[str, ...]
) -> None:
    files = exported(store, tmp_path / "out")
    for fmt in through:
        folder = tmp_path / fmt
        folder.mkdir()
        files = saved(files, folder, fmt)
    assert changed_by_import(files[0].parent, store) is None


def test_an_edit_in_the_spreadsheet_is_the_only_change(store: Path, tmp_path: Path) -> None:
    _, _, dids = exported(store, tmp_path / "out")
    dids.write_text(dids.read_text("utf-8-sig").replace('"=""442079460101"""', "442079460102"), "utf-8-sig")
    folder = tmp_path / "csv"
    folder.mkdir()
    saved([dids], folder, "csv")
    report = json.loads(done("import", folder, "--json", "--yes", store=store).out)
    assert (report["dids"]["added"], report["dids"]["removed"]["first"]) == (1, ["442079460101"])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_the_tables_have_names_next_to_ids_and_keep_every_number(store: Path, tmp_path: Path) -> None:
    clients, accounts, dids = exported(store, tmp_path / "out")
    assert all(path.read_bytes().startswith(b"\xef\xbb\xbf") for path in (clients, accounts, dids))
    assert {row["number"] for row in rows(dids)} == {'="' + number + '"' for number in known_numbers(store)}
    assert list(rows(dids)[0]) == ["number", "account_id", "account_name", "client_name", "status"]
    assert rows(dids)[0]["client_name"] == NAMES[0]
    assert list(rows(accounts)[0])[:4] == ["id", "client_id", "client_name", "name"]
    assert [row["client_name"] for row in rows(accounts)][:2] == [NAMES[0], "'=1+1"]
    assert list(rows(clients)[0])[3:5] == ["parent_id", "parent_name"]
    assert rows(clients)[1]["parent_name"] == NAMES[0]
    cells = [cell for path in (clients, accounts, dids) for row in rows(path) for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@")) and not cell.startswith('="')]


def known_numbers(store: Path) -> set[str]:
    found = json.loads(done("dids", "list", "--json", store=store).out)
    return {("+" if row["number"].startswith("+") else "") + row["number"] for row in found}


def relabelled(path: Path, column: str) -> None:
    """Write another name next to the ids of all rows."""
    found = [row | {column: "Other"} for row in rows(path)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows(found)


def test_an_edited_name_is_not_read_and_warned_of(store: Path, tmp_path: Path) -> None:
    clients, accounts, dids = exported(store, tmp_path / "out")
    relabelled(clients, "parent_name")
    relabelled(accounts, "client_name")
    relabelled(dids, "client_name")
    said = done("import", tmp_path / "out", store=store)
    assert said.out.endswith("nothing to change\n")
    warned = [line.partition("/out/")[2] for line in said.err.splitlines() if "another" in line]
    assert [re.sub(": lines [^.]*", "", line) for line in warned] == [
        "clients.csv: parent_name: 325 rows have another parent_name than the book. Only parent_id is read.",
        "accounts.csv: client_name: 7 rows have another client_name than the book. Only client_id is read.",
        "dids.csv: client_name: 8 rows have another client_name than the book. Only account_id is read.",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--gz",), "a spreadsheet opens plain CSV. Omit --gz or --excel."),
        (("--format", "jsonl"), "a spreadsheet opens plain CSV. Omit --format jsonl or --excel."),
    ],
)
def test_options_that_exclude_each_other(options: tuple[str, ...], said: str, store: Path, tmp_path: Path) -> None:
    result = run("export", tmp_path / "out", "--excel", *options, store=store)
    assert result.status == 2
    assert said in " ".join(result.err.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_an_export_for_spreadsheets_reports_as_json(store: Path, tmp_path: Path) -> None:
    report = json.loads(done("export", tmp_path / "out", "--excel", "--json", store=store).out)
    assert report["files"]["dids"] == str(tmp_path / "out" / "dids.csv")
