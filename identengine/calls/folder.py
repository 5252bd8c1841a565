"""The folder of the set of calls: only root and the user of the server may change what it contains.

Any user who can write there could replace a socket of the server, read the passwords in requests, and answer them.
Rule: the whole path is checked, because a user who can rename one of its folders can replace the last one, too.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from identengine.errors import StoreError, quoted

FOLDER_MODE = 0o700
"""Mode of a folder that is created for a set of calls."""
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
"""Mode bits of other writers. An access list with a further writer sets the bit of the group, its mask."""
_MOST_LINKS = 40
"""Maximum number of symbolic links in a path, as in Linux."""


class Hazard(NamedTuple):
    """A way in which other users can change a folder."""

    why: str
    """The part of the path that other users can change, and the reason, without a full stop."""
    remedy: str
    """The way to correct it, as a whole sentence."""


def prepare(folder: Path) -> None:
    """Create the folder of a set of calls if it is missing.

    Raise StoreError, with the remedy, if other users can change the folder. Raise OSError if it cannot be created.
    """
    require_safe(folder)  # first, so that nothing is created below a folder of another user
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    require_safe(folder)


def require_safe(folder: Path) -> None:
    """Raise StoreError, with the remedy, if other users can change the folder of a set of calls."""
    found = hazard(folder)
    if found is not None:
        raise StoreError(f"the set of calls cannot be kept in {folder}: {found.why}. {found.remedy}")


def hazard(folder: Path, owners: Collection[int] = ()) -> Hazard | None:
    """Return how users other than root and this one can change a folder, or None if they cannot.

    ``owners`` are further users, by uid, who may change it. Of a path that is missing or unreadable in part, only
    the rest is checked.
    """
    trusted = {0, os.geteuid(), *owners}
    place, names, links = Path("/"), [*reversed(folder.absolute().parts[1:])], 0
    with contextlib.suppress(OSError):
        while True:
            found = _hazard_of(place, place.lstat(), trusted, last=not names)
            if found is not None or not names:
                return found
            name = names.pop()
            if name == "..":
                place = place.parent
                continue
            step = place / name
            status = step.lstat()
            if not stat.S_ISLNK(status.st_mode):
                place = step
                continue
            if status.st_uid not in trusted:  # its owner can replace it, also in a folder with a sticky bit
                return _foreign(step, status.st_uid)
            if (links := links + 1) > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = step.readlink()
            if target.is_absolute():
                place = Path("/")
            names += [part for part in reversed(target.parts) if part != target.anchor]
    return None


def _hazard_of(place: Path, status: os.stat_result, trusted: Collection[int], *, last: bool) -> Hazard | None:
    """Return the hazard of one folder of a path.

    In a folder with a sticky bit, such as ``/tmp``, other users can neither rename nor remove our entries. They
    can add their own, so the last folder of the path must not be writable for them at all.
    """
    if status.st_uid not in trusted:
        return _foreign(place, status.st_uid)
    if not status.st_mode & _WRITABLE or (status.st_mode & stat.S_ISVTX and not last):
        return None
    if last and status.st_mode & stat.S_ISVTX:
        return Hazard(f"all users can write to {place}", f"Choose a folder of its own below {place}.")
    who = "all users" if status.st_mode & stat.S_IWOTH else "its group"
    return Hazard(f"{place} is writable for {who}", f"Run `chmod go-w {place}`, or choose another [calls] path.")


def _foreign(place: Path, uid: int) -> Hazard:
    return Hazard(
        f"{place} belongs to the user {user_name(uid)}",
        f"Run the server as that user, or choose a [calls] path below folders of root and of the user "
        f"{user_name(os.geteuid())}.",
    )


def user_name(uid: int) -> str:
    """Return the name of a user, quoted, or the uid if it has no name."""
    try:
        return quoted(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return str(uid)
