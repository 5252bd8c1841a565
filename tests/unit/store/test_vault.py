from __future__ import annotations

import base64
import errno
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identengine.errors import KeyFileError
from identengine.store.vault import (
    Vault,
    default_key_file,
    drop_old_keys,
    generate_password,
    key_id,
)

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(range(1, 33))).decode()


def test_a_token_has_the_documented_form() -> None:
    vault = Vault.from_text(KEY)
    token = vault.encrypt("geheim")
    assert re.fullmatch(r"enc:[0-9a-f]{8}:[A-Za-z0-9_-]+", token)
    assert key_id(token) == vault.key_ids[0]
    assert "geheim" not in token


@given(st.text(max_size=200))
def test_a_password_decrypts_to_itself(password: str) -> None:
    vault = Vault.from_text(KEY)
    assert vault.decrypt(vault.encrypt(password)) == password


def test_each_encryption_returns_another_token() -> None:
    vault = Vault.from_text(KEY)
    assert len({vault.encrypt("x") for _ in range(100)}) == 100


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    old, new = Vault.from_text(KEY), Vault.from_text(f"{OTHER},{KEY}")
    token = old.encrypt("x")
    assert new.decrypt(token) == "x"
    assert key_id(new.encrypt("x")) != key_id(token)
    with pytest.raises(KeyFileError, match=f"{new.key_ids[0]}.*environment.*{old.key_ids[0]}"):
        old.decrypt(new.encrypt("x"))


def test_a_repeated_key_counts_once() -> None:
    assert len(Vault.from_text(f"{KEY}, {KEY}").key_ids) == 1


@pytest.mark.parametrize(
    "token",
    ["", "x", "enc:", "enc::", "enc:12345678:", "enc:1234567:AAAA", "enc:XYZ45678:" + "A" * 60, "enc:12345678:ä",
     "ENC:12345678:" + "A" * 60, "enc:12345678:" + "A" * 10, "enc:12345678:!" + "A" * 59],
)  # fmt: skip
def test_an_invalid_token_is_a_value_error(token: str) -> None:
    with pytest.raises(ValueError, match=r"^expected the token"):
        Vault.from_text(KEY).decrypt(token)


def test_a_changed_token_never_decrypts() -> None:
    vault = Vault.from_text(KEY)
    token = vault.encrypt("geheim")
    head, sealed = token[:13], base64.urlsafe_b64decode(token[13:] + "=" * (-len(token[13:]) % 4))
    for place in range(len(sealed)):
        bad = bytearray(sealed)
        bad[place] ^= 1
        with pytest.raises(ValueError, match="damaged"):
            vault.decrypt(head + base64.urlsafe_b64encode(bad).decode().rstrip("="))


def test_reveal_decrypts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vault = Vault.from_text(KEY)
    token = vault.encrypt("x")
    assert vault.reveal(token) == "x"
    monkeypatch.setattr(vault, "decrypt", None)
    assert vault.reveal(token) == "x"


def test_the_cache_of_reveal_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("identengine.store.vault._CACHE_SIZE", 3)
    vault = Vault.from_text(KEY)
    tokens = [vault.encrypt(str(n)) for n in range(10)]
    assert [vault.reveal(token) for token in tokens * 2] == [str(n) for n in range(10)] * 2
    assert len(vault._revealed) <= 3


def test_a_repr_shows_no_key() -> None:
    assert repr(Vault.from_text(KEY)) == f"Vault(key_ids=('{Vault.from_text(KEY).key_ids[0]}',))"


def test_a_key_file_is_created_with_mode_0600_and_then_kept(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key"
    first = Vault.from_file(path, create=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Vault.from_file(path, create=True).decrypt(first.encrypt("x")) == "x"
    assert list(path.parent.iterdir()) == [path]


def test_the_default_key_file_is_next_to_the_store() -> None:
    assert default_key_file(Path("/var/lib/identengine")) == Path("/var/lib/identengine.key")
    assert default_key_file(Path("store")) == Path("store.key")
    assert default_key_file(Path()) == Path.cwd().with_name(f"{Path.cwd().name}.key")
    assert default_key_file(Path("/var/lib/..")) == Path("/var.key")
    assert default_key_file(Path("/")) == Path("/.key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610, 0o601])
def test_a_key_file_accessible_to_others_is_rejected_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    Vault.from_file(path, create=True)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"mode {mode:04o}.*`chmod 600 {re.escape(str(path))}"):
        Vault.from_file(path)


def test_a_missing_key_file_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "no key"
    with pytest.raises(KeyFileError, match=r"no key is missing.*restore it") as caught:
        Vault.from_file(path)
    command = str(caught.value).split("`")[1]
    subprocess.run(["/bin/sh", "-c", command], check=True)
    assert len(Vault.from_file(path).key_ids) == 1


@pytest.mark.parametrize("create", [False, True])
def test_an_inaccessible_path_is_an_error(tmp_path: Path, create: bool) -> None:
    with pytest.raises(KeyFileError, match=f"cannot be read: {os.strerror(errno.ENAMETOOLONG)}"):
        Vault.from_file(tmp_path / ("x" * 300), create=create)


def test_two_joined_vaults_have_the_keys_of_both(tmp_path: Path) -> None:
    own, other = Vault.from_file(tmp_path / "key", create=True), Vault.from_text(KEY)
    joined = own.joined(other)
    assert joined.key_ids == own.key_ids + other.key_ids
    assert [joined.reveal(vault.encrypt("x")) for vault in (own, other)] == ["x", "x"]
    assert own.decrypt(joined.encrypt("y")) == "y"
    with pytest.raises(KeyFileError, match=r"key file .*key, together with earlier keys, holds"):
        joined.decrypt(Vault.from_text(OTHER).encrypt("x"))
    assert own.joined(own).key_ids == own.key_ids


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no key"),
        (b"\n# nothing\n", "holds no key"),
        (b"short\n", "line 1 of"),
        (KEY.encode() + b"\n" + KEY[:-4].encode(), "line 2 of"),
        (b"\xff\xfe" * 30, "not a key file: expected lines of base64"),
        (b"!" * 44, "line 1 of"),
    ],
)
def test_an_invalid_key_file_is_an_error_that_names_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=message) as caught:
        Vault.from_file(path)
    assert KEY[:20] not in str(caught.value), "a key with a typing error must not be shown"


def test_a_key_file_may_hold_comments_and_url_safe_base64(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = base64.urlsafe_b64encode(b"\xff" * 32).decode()
    path.write_text(f"# made by hand\n\n  {key}  \n")
    path.chmod(0o600)
    assert len(Vault.from_file(path).key_ids) == 1


def test_neither_a_folder_nor_a_pipe_is_a_key_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(KeyFileError, match="not a regular file"):
            Vault.from_file(path)


@pytest.mark.parametrize("text", ["", " , ", "abc", f"{KEY},x"])
def test_an_invalid_key_in_the_environment_is_rejected(text: str) -> None:
    with pytest.raises(KeyFileError, match="environment"):
        Vault.from_text(text)


def test_a_new_key_comes_first_and_old_keys_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "key"
    old = Vault.from_file(path, create=True)
    both = old.with_new_key()
    assert Vault.from_file(path).key_ids == old.key_ids, "the file changes only when the vault is saved"
    both.save()
    assert both.key_ids[1:] == old.key_ids
    assert Vault.from_file(path).key_ids == both.key_ids
    new = drop_old_keys(path)
    assert new.key_ids == both.key_ids[:1] == Vault.from_file(path).key_ids
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_the_key_file_is_kept(tmp_path: Path) -> None:
    Vault.from_file(tmp_path / "real", create=True)
    (tmp_path / "key").symlink_to(tmp_path / "real")
    renewed = Vault.from_file(tmp_path / "key").with_new_key()
    renewed.save()
    assert renewed.key_ids == Vault.from_file(tmp_path / "real").key_ids
    assert (tmp_path / "key").is_symlink()


def test_generated_passwords_are_long_plain_and_different() -> None:
    made = {generate_password() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"[A-Za-z2-9]{20}", password) for password in made)
    assert not set("".join(made)) & set("0O1lI")


def test_a_new_vault_creates_its_file_when_it_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "key"
    vault = Vault.new(path)
    token = vault.encrypt("x")
    assert not path.exists()
    vault.keep()
    vault.keep()
    assert Vault.from_file(path).decrypt(token) == "x"
    late = Vault.new(path)
    with pytest.raises(KeyFileError, match="has been created by another process"):
        late.keep()
    assert Vault.from_file(path).key_ids == vault.key_ids
    Vault.from_file(path).keep()
    assert list(tmp_path.iterdir()) == [path]
