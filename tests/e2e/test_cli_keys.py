"""``identengine key rotate`` after the loss of the key: its messages name every step of the way out."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.cli import demo_store, done, run


def test_the_way_out_after_the_key_file_is_lost(tmp_path: Path) -> None:
    store, key = demo_store(tmp_path), tmp_path / "store.key"
    key.unlink()
    said = run("key", "rotate", store=store)
    assert said.status == 1
    assert not key.exists()
    subprocess.run(["/bin/sh", "-c", said.err.split("`")[1]], check=True)
    made = key.read_text()
    named: list[str] = []
    while (said := run("key", "rotate", store=store)).status:  # each run names the next ten accounts
        assert "identengine accounts password set ID" in said.err
        assert key.read_text() == made
        accounts = [one for one in said.err.split("of the accounts ")[1].split(")")[0].split(", ") if one != "…"]
        assert not set(accounts) & set(named)
        named += accounts
        for account in accounts:
            done("accounts", "password", "set", account, store=store, stdin="again\n")
    assert len(named) > 10
    assert key.read_text() != made
    assert len(key.read_text().splitlines()) == 1
    assert done("accounts", "password", "show", named[0], store=store).out == "again\n"
