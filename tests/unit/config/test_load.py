"""The file of the config: where it is read from, and what cannot be read."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
from unit.config.parsing import KEY, SWITCH, parsed, problems

from identengine.config.load import load
from identengine.errors import ConfigError, KeyFileError
from identengine.store.vault import Vault, default_key_file


def test_relative_paths_are_the_configs_own(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('[store]\npath = "store"\nkey_file = "/keys/k"')
    assert load(file).store.path == tmp_path / "store"
    assert load(file).store.key_file == Path("/keys/k")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def said(content: bytes) -> str:
        file = tmp_path / "c.toml"
        file.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            load(file)
        return str(caught.value)

    assert "is not TOML" in said(b"[store\n")
    assert "is not UTF-8: line 3 is in another encoding" in said(b"[store]\n# fine\npath = '/b\xfccher'\n")
    assert "is not UTF-8: line 2" in said(b"\xef\xbb\xbf\na = \xff")
    twice, changed = said(b"[store]\npath = 'x'\n[store]\n"), said(b"store = {}\nstore.a = 1\n")
    for text in (twice, changed):
        assert "is not TOML" in text
        assert "('store'" not in text, "a table is named as it is written"
    assert "line 2: an integer of too many digits" in said(b"[limits]\nconnections = 1" + b"0" * 5000)
    assert "line 2: an integer of too many digits" in said(b"[limits]\nconnections = 1" + b"_0" * 5000)
    assert "too deep (line 2)" in said(b"\na = " + b"[" * 3000 + b"]" * 3000)
    assert "too deep (line 52)" in said(b"\na = " + b"[\n" * 3000 + b"]" * 3000)
    assert "too deep (line 1)" in said(b"a = " + b"{a=" * 3000 + b"1" + b"}" * 3000)
    assert "larger than 16 MiB" in said(b"# x\n" * (5 << 20))
    with pytest.raises(ConfigError, match=f"cannot be read: {os.strerror(errno.ENOENT)}"):
        load(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


def test_the_mark_of_utf_8_before_the_text_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(b"\xef\xbb\xbf[log]\nlevel = 'debug'\n")
    assert load(file).log.level == "debug"


def test_where_the_keys_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    token = Vault.from_text("A" * 43 + "=").encrypt("x")
    for said, place in (
        (f"key = '{KEY}'", "store.key holds"),
        ("key = {env = 'SOME_KEY'}", r"\$SOME_KEY holds"),
        (f"key_file = '{tmp_path}/key'", f"the key file {tmp_path}/key holds"),
        (f"path = '{tmp_path}/book'", f"the key file {tmp_path}/book.key holds"),
    ):
        store = parsed(f"[store]\n{said}").store
        if store.key is None:
            Vault.from_file(store.key_file or default_key_file(store.path), create=True)
        with pytest.raises(KeyFileError, match=place):
            store.vault().decrypt(token)


def test_secrets_are_shown_nowhere() -> None:
    config = parsed(f"[store]\nkey = '{KEY}'\n" + SWITCH + "secret = 'hush-1'\nignore_password = 'hush-2'")
    assert "hush" not in repr(config)
    assert KEY not in repr(config)
    assert config.store.key is not None
    assert config.store.key.reveal() == KEY
    wrong = problems("[calls]\nurl = 'redis://:hush@h'\npath = 'p'\n[store]\nkey = 'hush'\nkey_file = 'k'")
    wrong += problems("[store]\nkey = 'hush'")
    assert not re.search("hush", " ".join(wrong))
