"""``identengine serve --check``: mistakes and warnings about a config and the files that it names."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import config_with, demo_store, done, run

from identengine.config import load


def warned(config: Path) -> list[str]:
    """Return the lines on standard error, after a check that ``--json`` has the same warnings."""
    said = done("serve", "--config", config, "--check")
    assert said.out == f"{config}: no mistakes found\n"
    found = said.err.splitlines()
    assert found == [
        f"warning: {line}" for line in done("serve", "--config", config, "--check", "--json").json["warnings"]
    ]
    return found


def test_no_warnings_if_everything_exists(tmp_path: Path) -> None:
    demo_store(tmp_path)
    assert warned(config_with(tmp_path, "")) == []


def test_a_missing_store_and_key_are_one_warning(tmp_path: Path) -> None:
    (no_store,) = warned(config_with(tmp_path, ""))
    assert no_store.startswith(f"warning: there is no store at {tmp_path}/store. `identengine init` with")
    assert [found.name for found in tmp_path.iterdir()] == ["identengine.toml"], "a check creates no files"


def test_a_missing_key_of_a_store_is_a_warning(tmp_path: Path) -> None:
    demo_store(tmp_path)
    (tmp_path / "store.key").unlink()
    (no_key,) = warned(config_with(tmp_path, ""))
    assert no_key.startswith(f"warning: the key file {tmp_path}/store.key is missing. ")


def test_a_wrong_key_file_is_a_warning_before_the_store_exists(tmp_path: Path) -> None:
    (tmp_path / "store.key").write_text("wrong")
    (tmp_path / "store.key").chmod(0o600)
    no_store, wrong_key = warned(config_with(tmp_path, ""))
    assert "there is no store" in no_store
    assert "expected a key of 32 bytes" in wrong_key


def test_a_key_file_that_others_can_read(tmp_path: Path) -> None:
    demo_store(tmp_path)
    (tmp_path / "store.key").chmod(0o644)
    (found,) = warned(config_with(tmp_path, ""))
    assert "store.key is accessible to other users (mode 0644). Run `chmod 600" in found


@pytest.mark.parametrize(
    ("key", "message"),
    [("'abc'", "key 1 of store.key: expected a key"), ("{ env = 'USER' }", "key 1 of $USER: expected a key")],
)
def test_an_invalid_key_is_a_mistake(tmp_path: Path, key: str, message: str) -> None:
    said = run("serve", "--config", config_with(tmp_path, f"key = {key}\n"), "--check")
    assert (said.status, said.out) == (1, "")
    assert f"[store] key: {message}" in said.err


def test_the_sample_needs_no_config_and_passes_the_check(tmp_path: Path) -> None:
    sample = done("serve", "--sample").out
    assert sample == load.sample()
    config = tmp_path / "sample.toml"
    config.write_text(sample.replace('#path = "/run/identengine"', 'path = "calls"'))
    assert done("serve", "--config", config, "--check").out == f"{config}: no mistakes found\n"
