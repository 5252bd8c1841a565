"""Only an interpreter whose build record shows it counts as a build without optimization."""

from __future__ import annotations

import pytest

from identengine.server.interpreter import is_plain_build

PREPARED = "-fprofile-use -fprofile-correction"
PLAIN: dict[str, str | None] = {
    "CONFIG_ARGS": "'--prefix=/opt/python' '--enable-shared'",
    "PGO_PROF_USE_FLAG": PREPARED,
    "PY_CORE_CFLAGS": "-DNDEBUG -g -fwrapv -O3 -Wall -std=c11",
}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"CONFIG_ARGS": ""},
        {"CONFIG_ARGS": "'--enable-optimizations=no'"},
        {"PGO_PROF_USE_FLAG": '-fprofile-instr-use="code.profclangd"'},
    ],
    ids=["with a prefix", "no argument at all", "optimization refused", "clang"],
)
def test_a_plain_build(changed: dict[str, str | None]) -> None:
    assert is_plain_build(PLAIN | changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"CONFIG_ARGS": "'--enable-optimizations' '--with-lto'"},
        {"PGO_PROF_USE_FLAG": ""},
        {"PGO_PROF_USE_FLAG": None},
        {"CONFIG_ARGS": None},
        {"PY_CORE_CFLAGS": f"-O3 {PREPARED}"},
        {"PY_CORE_CFLAGS": "-O3 -fprofile-instr-use=code.profclangd"},
    ],
    ids=["optimized", "Debian", "no flags", "no record", "gcc used a profile", "clang used a profile"],
)
def test_an_optimized_or_unclear_build(changed: dict[str, str | None]) -> None:
    assert not is_plain_build(PLAIN | changed)


def test_an_empty_record() -> None:
    assert not is_plain_build({})
