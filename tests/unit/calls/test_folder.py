"""The folder of the set of calls is refused if other users can change any part of its path."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest
from support.otheruser import OTHER_UID, OTHER_USER, needs_other_user

from identengine.calls.folder import hazard, prepare
from identengine.errors import StoreError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "outer" / "calls"
    made.mkdir(parents=True, mode=0o700)
    made.parent.chmod(0o755)
    made.chmod(0o700)
    return made


def refused(folder: Path, said: str) -> None:
    with pytest.raises(StoreError) as raised:
        prepare(folder)
    assert said in str(raised.value)
    assert f"the set of calls cannot be kept in {folder}: " in str(raised.value)


def test_a_folder_of_our_own_is_used(folder: Path) -> None:
    for mode in (0o700, 0o750, 0o755):
        folder.chmod(mode)
        prepare(folder)


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o777, 0o707, 0o702])
def test_a_folder_with_other_writers_is_refused(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    who = "all users" if mode & 0o002 else "its group"
    refused(folder, f"{folder} is writable for {who}. Run `chmod go-w {folder}`, or choose another")


def test_a_sticky_bit_protects_our_entries_but_not_the_folder_itself(folder: Path) -> None:
    folder.parent.chmod(0o1777)
    prepare(folder)
    folder.chmod(0o1777)
    refused(folder, f"all users can write to {folder}. Choose a folder of its own below {folder}.")


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_writable_parent_is_refused(folder: Path, mode: int) -> None:
    folder.parent.chmod(mode)
    refused(folder, f"{folder.parent} is writable for")
    refused(folder.parent / "missing" / "calls", f"{folder.parent} is writable for")
    assert not (folder.parent / "missing").exists(), "nothing is created in a folder of others"


def test_symbolic_links_are_followed_to_each_folder(folder: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    absolute, relative = links / "absolute", links / "relative"
    absolute.symlink_to(folder)
    relative.symlink_to("../links/./../outer/calls")
    prepare(absolute)
    prepare(relative)
    prepare(links / ".." / "outer" / "calls")
    links.chmod(0o777)
    refused(absolute, f"{links} is writable for all users")
    links.chmod(0o755)
    folder.parent.chmod(0o777)
    refused(absolute, f"{folder.parent} is writable for all users")
    refused(relative, f"{folder.parent} is writable for all users")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert hazard(tmp_path / "a") is None, "such a path has no folder, and cannot be created"
    with pytest.raises(OSError, match=os.strerror(errno.EEXIST)):
        prepare(tmp_path / "a")


def test_a_folder_or_link_of_another_user_is_refused(folder: Path, tmp_path: Path) -> None:
    needs_other_user()
    link = tmp_path / "link"
    link.symlink_to(folder)
    os.lchown(link, OTHER_UID, -1)
    refused(link, f"{link} belongs to the user {OTHER_USER}")
    os.chown(folder, OTHER_UID, -1)
    refused(folder, f"{folder} belongs to the user {OTHER_USER}. Run the server as that user, or choose")
    assert hazard(folder, [OTHER_UID]) is None, "the owner is trusted"
    os.chown(folder, 0, -1)
    os.chown(folder.parent, OTHER_UID, -1)
    refused(folder, f"{folder.parent} belongs to the user {OTHER_USER}")


def test_an_access_list_with_another_writer_is_refused(folder: Path) -> None:
    """The mask of an access list is in the bits of the group."""
    user, named, group, mask, other = 0x01, 0x02, 0x04, 0x10, 0x20
    entries = [(user, 7, 0xFFFFFFFF), (named, 7, OTHER_UID), (group, 0, 0xFFFFFFFF), (mask, 7, 0xFFFFFFFF)]
    packed = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *one) for one in [*entries, (other, 0, 0xFFFFFFFF)]
    )
    try:
        os.setxattr(folder, "system.posix_acl_access", packed)
    except OSError as error:
        pytest.skip(f"no access lists here: {error.strerror}")
    refused(folder, f"{folder} is writable for its group")
