"""MD5, which the protocol prescribes for its authenticators and passwords (RFC 2865, sections 3 and 5.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

md5: Callable[[bytes], _Hash] = partial(hashlib.md5, usedforsecurity=False)
with suppress(ImportError):  # a CPython can be built without it
    # OpenSSL needs most of its time to begin a hash. CPython's own code begins one in half of that time.
    from _md5 import md5  # type: ignore[import-not-found,no-redef]


def md5_of(data: bytes) -> bytes:
    """Return the MD5 of some bytes."""
    return md5(data).digest()
