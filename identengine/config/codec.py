"""Encodes a checked config as bytes, for the processes of a supervisor.

The bytes hold every secret in clear. They are for a socket between processes of one server, never for a file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from identengine.config.schema import Config
from identengine.config.secret import Secret


def encode(config: Config) -> bytes:
    """Return a config as MessagePack."""
    return _encode(config)


def decode(encoded: bytes) -> Config:
    """Return the config from the bytes of :func:`encode`. Raise msgspec.MsgspecError for other bytes."""
    return _decode(encoded)


def _to_plain(value: object) -> object:
    """Return a Path or a Secret as values of types that MessagePack has."""
    if isinstance(value, Path):
        return os.fsencode(value)  # the name of a file can hold bytes that are not UTF-8
    if isinstance(value, Secret):  # so can an environment variable
        return value.reveal().encode(errors="surrogateescape"), value.variable
    raise NotImplementedError(type(value).__name__)


def _from_plain(wanted: type, value: Any) -> object:
    if wanted is Path:
        return Path(os.fsdecode(value))
    if wanted is Secret:
        text, variable = value
        return Secret(text.decode(errors="surrogateescape"), variable)
    raise NotImplementedError(wanted.__name__)


_encode = msgspec.msgpack.Encoder(enc_hook=_to_plain).encode
_decode = msgspec.msgpack.Decoder(Config, dec_hook=_from_plain).decode
