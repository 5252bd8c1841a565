"""The book of ``docs/operate/daily.md``: 5,000 accounts of 496 clients, and the rejects of yesterday.

``python -m support.dailybook FOLDER`` writes ``book``, a store with it since yesterday morning, and the record.
All contents are the same each time. Only the dates differ.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock  # only the clock

from identengine.model.reasons import Reason
from identengine.model.records import Decision, Request
from identengine.store import versions
from support.cli import done
from support.records import entry, write_segment

FIRST_WORDS = (
    *("Amber", "Birch", "Cedar", "Cobalt", "Copper", "Coral", "Delta", "Elm", "Falcon", "Granite", "Harbour"),
    *("Indigo", "Jasper", "Juniper", "Lagoon", "Linden", "Maple", "Marble", "Nimbus", "Onyx", "Opal", "Orchid"),
    *("Pearl", "Quartz", "Saffron"),
)
SECOND_WORDS = (
    *("Telecom", "Voice", "Networks", "Carriers", "Hosting", "Dental", "Taxis", "Logistics", "Surveys", "Hotels"),
    *("Clinics", "Schools", "Foods", "Motors", "Travel", "Print", "Games", "Media", "Energy", "Legal"),
)
CLIENTS = [" ".join(words) for words in product(FIRST_WORDS, SECOND_WORDS)][:496]
LARGE, BUSY = 40, 120
"""Clients of the page: Birch Legal, which has 50 accounts, and Coral Legal, which reaches its limit."""
GATEWAY = "10.9.0.30"
"""Address of a hub. Four accounts of different clients share it, each with a tech prefix of its own."""
TWICE = "10.9.0.77"
"""Address of two accounts of different clients that are equal in everything else."""
FIRST_ACCOUNT = 1001


def clients() -> Iterator[dict[str, object]]:
    """Yield the rows of the clients."""
    for number, name in enumerate(CLIENTS, 1):
        yield {
            "id": number,
            "name": name,
            "rate_table": f"retail-{number % 12}",
            "routing_plan": f"lcr-{number % 5}",
            "capacity": 20 if number == BUSY else 200,
        }


def accounts() -> Iterator[dict[str, object]]:
    """Yield the rows of 5,000 accounts. Most clients have ten: six addresses, two networks, a name and an ANI."""
    owners = [client for client in range(1, len(CLIENTS) + 1) for _ in range(50 if client == LARGE else 10)]
    sites: dict[int, int] = {}
    for place, client in enumerate(owners):
        sites[client] = site = sites.get(client, 0) + 1
        kind = place % 10
        row: dict[str, object] = {
            "id": FIRST_ACCOUNT + place,
            "client_id": client,
            "name": f"{CLIENTS[client - 1]} site {site}",
            "ident_by": "ip",
            "ident": f"10.{16 + place // 250}.{place % 250}.{10 + kind}",
            "orig_capacity": 10,
        }
        if kind in (6, 7):
            row["ident"] = f"10.{16 + place // 250}.{place % 250}.{16 * kind}/28"
        elif kind == 8:
            row |= {"ident_by": "name", "ident": f"pbx{FIRST_ACCOUNT + place}", "src_policy": "overwrite"}
            row["password"] = f"Secret-{FIRST_ACCOUNT + place}"
        elif kind == 9:
            row |= {"ident_by": "ani", "ident": f"44161496{place:04}"}
        if kind == 0 and client % 100 == 0:
            row |= {"ident": GATEWAY, "tech_prefix": f"90{client // 100}#"}
        if kind == 5 and client in (301, 402):
            row |= {"ident": TWICE}
        yield row


def dids() -> Iterator[dict[str, object]]:
    """Yield ranges of DIDs: a block of 500 for account 1809, and ten for each fifth account with a name."""
    yield {"number": "442079460000-442079460499", "account_id": 1809, "status": "active"}
    for number, account in enumerate(range(FIRST_ACCOUNT + 8, FIRST_ACCOUNT + 5000, 50)):
        first = 441134960000 + 10 * number
        yield {"number": f"{first}-{first + 9}", "account_id": account, "status": "active"}


def yesterday(hour: int, minute: int) -> float:
    """Return a time of yesterday, by the local clock."""
    today = time.localtime()
    return time.mktime((today.tm_year, today.tm_mon, today.tm_mday - 1, hour, minute, 20, 0, 0, -1))


def rejects() -> Iterator[bytes]:
    """Yield an entry of the record: a call from the hub that was rejected yesterday at 14:03."""
    asked: dict[str, Any] = {"src_ip": GATEWAY, "src_number": "441614960123", "dst_number": "905#442079460123"}
    decision = Decision(accepted=False, reason=Reason.TECH_PREFIX_MISMATCH, sip_code=403, q850=21, version=1)
    yield entry(yesterday(14, 3), Request(call_id="5b1e-7@hub", **asked), decision)


def write(folder: Path, rows: dict[str, Iterable[dict[str, object]]]) -> None:
    """Write the tables of a book."""
    folder.mkdir(parents=True, exist_ok=True)
    for table, each in rows.items():
        listed = list(each)
        columns = list(dict.fromkeys(column for row in listed for column in row))
        with (folder / f"{table}.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(listed)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    write(folder / "book", {"clients": clients(), "accounts": accounts(), "dids": dids()})
    with mock.patch.object(versions, "time", SimpleNamespace(time=lambda: yesterday(9, 0))):
        done("import", folder / "book", "--who", "anna", store=folder / "store")
    write_segment(folder / "store.record", rejects())
