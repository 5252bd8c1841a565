"""Config files with any content.

Invariant: a config file is a config or a ConfigError that names its mistakes, never another exception. A config is
the same after its way to another process.
"""

from __future__ import annotations

import base64
import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fuzz.mutation import TOKENS, mutated
from fuzz.rounds import Case, Rounds, rounds
from fuzz.values import value

from identengine.config import codec
from identengine.config.changes import changes
from identengine.config.load import load, sample
from identengine.errors import ConfigError

OF_TOML = (
    *TOKENS,
    b"[[switch]]\n",
    b"[switch]\n",
    b"[switch.radius]\n",
    b"[[",
    b"]]",
    b'"""',
    b"'''",
    b"=",
    b".",
    b"#",
    b"{}",
    b"1979-05-27T07:32:00Z",
    b"07:32:00",
    b"inf",
    b"nan",
    b"-0",
    b"0x1F",
    b"1_000",
    b"\\U0010ffff",
    b"\\UFFFFFFFF",
    b'{ env = "PATH" }',
    b'{ env = "" }',
    b"reasons.account.17.overload.sip_code = 603\n",
)
SECRETS = {
    "IDENTENGINE_KEY": base64.b64encode(bytes(range(32))).decode(),
    "SBC1_TOKEN": "a token of a switch, long enough",
    "NOC_TOKEN": "a token of the operators, long enough",
    "SBC1_SECRET": "a secret of a switch, long enough",
}
"""Environment variables that the sample names."""
ODD = ("nan", "inf", "-inf", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "{}", "[]", "[[]]", '""', "''")


@cache
def whole() -> tuple[bytes, dict[str, Any]]:
    """Return a config with every key, as TOML and as values."""
    lines = []
    for line in sample().splitlines():
        bare = line.removeprefix("#").strip()
        is_key = (
            line.startswith("#") and bare[:1].isalpha() and " = " in bare and bare.split(" = ")[0].isidentifier()
        )
        is_table = line.startswith("#") and bare.startswith("[") and bare.endswith("]")
        lines.append(bare if is_key or is_table else line)
    # [store] takes one of key and key_file, and a certificate of a switch needs a listener.
    text = "\n".join(line for line in lines if not line.startswith("key_file"))
    text = text.replace("tls = []", 'tls = ["127.0.0.1:4871"]')
    return text.encode(), tomllib.loads(text)


@rounds(1200)
def test_config_files(cases: Rounds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    path = tmp_path / "identengine.toml"
    path.write_bytes(whole()[0])
    plain = load(path)
    for case in cases.within_memory():
        with case:
            case.input = content = config(case)
            path.write_bytes(content)
            try:
                found = load(path)
            except ConfigError as refused:
                assert_named(refused)
                continue
            assert codec.decode(codec.encode(found)) == found
            changes(plain, found)


def assert_named(refused: ConfigError) -> None:
    """Check that an error names its mistakes, each on one line."""
    assert refused.problems
    assert all(problem and problem.isprintable() for problem in refused.problems), refused.problems


def config(case: Case) -> bytes:
    """Return the content of a config file."""
    content, values = whole()
    if case.often(0.5):
        content = "\n".join(section(case, name, values[name]) for name in values if case.often(0.95)).encode(
            errors="surrogatepass"
        )
    return mutated(case, content, 4, OF_TOML) if case.often(0.4) else content


def section(case: Case, name: str, of: Any) -> str:
    """Return a section with odd values in TOML."""
    if case.often(0.03):
        return f"{name} = {toml(case, value(case))}\n"
    tables = of if isinstance(of, list) else [of]
    heading = f"[[{name}]]" if isinstance(of, list) else f"[{name}]"
    if case.often(0.1) and isinstance(of, list):
        tables = tables * 3
    return "\n".join(
        f"{heading}\n" + "".join(f"{key} = {one}\n" for key, one in entries(case, table)) for table in tables
    )


def entries(case: Case, table: Any) -> list[tuple[str, str]]:
    """Return the keys of a table with their values in TOML. Most values are right."""
    found = [
        (key, toml(case, value(case) if case.often(0.01) else one))
        for key, one in table.items()
        if case.often(0.99)
    ]
    if case.often(0.05):
        found.append((json.dumps(case.choice(("", "x", "pásswort", "a.b"))), toml(case, value(case))))
    return found


def toml(case: Case, one: Any) -> str:
    """Return a value in TOML, or something else instead."""
    if case.often(0.005):
        return case.choice(ODD)
    if isinstance(one, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(case, of)}" for key, of in one.items()) + " }"
    if isinstance(one, list):
        return "[" + ", ".join(toml(case, item) for item in one) + "]"
    return "[]" if one is None else json.dumps(one)
