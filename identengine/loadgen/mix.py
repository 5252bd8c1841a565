"""What is asked: a JSONL file, a request a line, and what each is to be answered.

``{"method": "authorize", "params": {"call_id": "load-{n}", …}, "expect": {"accepted": true}}``, as in
``data/requests.jsonl``; placeholders are those of :mod:`identengine.loadgen.pattern`. ``expect`` names fields of
the result and may be missing; ``{"error": -32602}`` expects an error. One that is not expected is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec

from identengine.calls.backend import LegResult
from identengine.errors import IdentengineError
from identengine.identify.explain import Explanation
from identengine.model.records import Decision
from identengine.wire.jsonrpc.messages import Pong
from identengine.wire.jsonrpc.methods import METHODS, Result

Decoder: TypeAlias = msgspec.json.Decoder[Result] | msgspec.msgpack.Decoder[Result]

_KNOWN = 1000
"""Different results of one line whose verdicts are remembered; almost always there is one."""
_UNDECODED = (msgspec.MsgspecError, ValueError, RecursionError)


_FIELDS = (
    ("method", str, "a text"),
    ("params", dict, "an object"),
    ("expect", dict, "an object"),
    ("title", str, "a text"),
)


class MixError(IdentengineError):
    """The file of requests cannot be used."""


class Line(msgspec.Struct, frozen=True):
    """One request of a mix."""

    method: str
    params: dict[str, object] = {}
    expect: dict[str, object] = {}
    title: str = ""


class Verdict(NamedTuple):
    """What an answer was, in a word or two, and what is wrong with it."""

    outcome: str
    wrong: str | None = None


def read(path: Path) -> list[Line]:
    """Return the lines of a file. Raises MixError, naming file and line, and OSError."""
    lines = []
    for number, text in enumerate(path.read_bytes().splitlines(), 1):
        if not text.strip():
            continue
        try:
            line = _line(text)
            _check(line)
        except ValueError as error:
            raise MixError(f"{path}:{number}: {error}") from None
        lines.append(line)
    if not lines:
        raise MixError(f"{path}: there is no request in it")
    return lines


def _line(text: bytes) -> Line:
    """Return the request in a line. Raise ValueError, in words of our own, if it is none."""
    try:
        found = msgspec.json.decode(text, type=dict[str, object])
    except _UNDECODED:
        raise ValueError("this line is not one JSON object") from None
    for name in found:
        if name not in Line.__struct_fields__:
            raise ValueError(f"there is no field {name!r}; there are {', '.join(Line.__struct_fields__)}")
    for name, kind, called in _FIELDS:
        if not isinstance(found.get(name, kind()), kind) or (name == "method" and name not in found):
            raise ValueError(f"{name}: {called} is wanted")
    return msgspec.convert(found, Line)


def _check(line: Line) -> None:
    spec = METHODS.get(line.method)
    if spec is None or spec.connection_only:
        methods = ", ".join(name for name, each in METHODS.items() if not each.connection_only)
        raise ValueError(f"{line.method!r} is no method; there are {methods}")
    unknown = line.expect.keys() - {*spec.result.__struct_fields__, "error"}
    if unknown:
        raise ValueError(f"expect: the answer to {line.method} has no {', '.join(sorted(unknown))}")


def differences(expected: Mapping[str, object], result: Result) -> Iterator[str]:
    """Yield where a result is not what is expected; what is not named may be anything, None is absent."""
    for name, value in expected.items():
        found = getattr(result, name, None)
        if found != value:
            yield f"{name} is {found}, expected was {value}"


class Judge:
    """Looks at the answers to one line."""

    def __init__(self, line: Line, decoder: Decoder) -> None:
        self._line = line
        self._decoder = decoder
        self._known: dict[bytes, Verdict] = {}

    def result(self, raw: bytes) -> Verdict:
        """Return the verdict on a result, as it came."""
        verdict = self._known.get(raw)
        if verdict is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            verdict = self._known[raw] = self._result(raw)
        return verdict

    def error(self, code: int | str, message: str) -> Verdict:
        """Return the verdict on an error."""
        expected = self._line.expect.get("error")
        outcome = f"error {code}"
        return Verdict(outcome, None if code == expected else self._wrong(f"{outcome}: {message}"))

    def _result(self, raw: bytes) -> Verdict:
        try:
            result = self._decoder.decode(raw)
        except _UNDECODED as error:
            return Verdict("not understood", self._wrong(f"the result is not understood: {error}"))
        expected = self._line.expect
        if "error" in expected:
            return Verdict(_outcome(result), self._wrong(f"expected was error {expected['error']}"))
        wrong = "; ".join(differences(expected, result))
        return Verdict(_outcome(result), self._wrong(wrong) if wrong else None)

    def _wrong(self, what: str) -> str:
        return f"{self._line.title or self._line.method}: {what}"


def _outcome(result: Result) -> str:
    if isinstance(result, Explanation):
        result = result.decision
    if isinstance(result, Decision):
        return "accepted" if result.accepted else result.reason or "rejected"
    if isinstance(result, Pong):
        return "pong"
    assert isinstance(result, LegResult)  # noqa: S101 - there is no fourth
    return "unknown" if result.unknown else "overcommit" if result.overcommit else "done"
