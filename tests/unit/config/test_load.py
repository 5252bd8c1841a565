"""The file of the config: relative paths, files that cannot be read, and secrets."""

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
    def message(content: bytes) -> str:
        file = tmp_path / "c.toml"
        file.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            load(file)
        return str(caught.value)

    assert "not valid TOML" in message(b"[store\n")
    assert "expected UTF-8, got another encoding in line 3" in message(b"[store]\n# fine\npath = '/b\xfccher'\n")
    assert "expected UTF-8, got another encoding in line 2" in message(b"\xef\xbb\xbf\na = \xff")
    twice, changed = message(b"[store]\npath = 'x'\n[store]\n"), message(b"store = {}\nstore.a = 1\n")
    for text in (twice, changed):
        assert "not valid TOML" in text
        assert "('store'" not in text, "a table is named as in the file"
    assert "line 2: the integer has too many digits" in message(b"[limits]\nconnections = 1" + b"0" * 5000)
    assert "line 2: the integer has too many digits" in message(b"[limits]\nconnections = 1" + b"_0" * 5000)
    assert "too deeply (line 2)" in message(b"\na = " + b"[" * 3000 + b"]" * 3000)
    assert "too deeply (line 52)" in message(b"\na = " + b"[\n" * 3000 + b"]" * 3000)
    assert "too deeply (line 1)" in message(b"a = " + b"{a=" * 3000 + b"1" + b"}" * 3000)
    assert "expected a config of at most 16 MiB" in message(b"# x\n" * (5 << 20))
    with pytest.raises(ConfigError, match=f"cannot be read: {os.strerror(errno.ENOENT)}"):
        load(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(b"\xef\xbb\xbf[log]\nlevel = 'debug'\n")
    assert load(file).log.level == "debug"


def test_where_the_keys_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    token = Vault.from_text("A" * 43 + "=").encrypt("x")
    for line, place in (
        (f"key = '{KEY}'", "store.key holds"),
        ("key = {env = 'SOME_KEY'}", r"\$SOME_KEY holds"),
        (f"key_file = '{tmp_path}/key'", f"the key file {tmp_path}/key holds"),
        (f"path = '{tmp_path}/book'", f"the key file {tmp_path}/book.key holds"),
    ):
        store = parsed(f"[store]\n{line}").store
        if store.key is None:
            Vault.from_file(store.key_file or default_key_file(store.path), create=True)
        with pytest.raises(KeyFileError, match=place):
            store.vault().decrypt(token)


IGNORED = "[switch.radius]\nignore_password = 'hush-2'"


def test_secrets_are_shown_nowhere() -> None:
    config = parsed(f"[store]\nkey = '{KEY}'\n" + SWITCH + f"secret = 'hush-1'\n{IGNORED}")
    assert "hush" not in repr(config)
    assert KEY not in repr(config)
    assert config.store.key is not None
    assert config.store.key.reveal() == KEY
    wrong = problems("[calls]\nurl = 'redis://:hush@h'\npath = 'p'\n[store]\nkey = 'hush'\nkey_file = 'k'")
    wrong += problems("[store]\nkey = 'hush'")
    assert not re.search("hush", " ".join(wrong))
