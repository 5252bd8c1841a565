"""Configs from text, for tests."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from identengine.config.schema import Config
from identengine.config.sections import from_values
from identengine.errors import ConfigError


def parsed(text: str) -> Config:
    return from_values(tomllib.loads(text), Path("/etc/identengine/identengine.toml"))


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    return list(caught.value.problems)


KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


SWITCH = '[[switch]]\nname = "a"\naddresses = ["127.0.0.1"]\n'
