"""The requests of a run, read from JSON lines, and the judgement of their answers.

A line looks like ``{"method": "authorize", "params": {"call_id": "load-{n}"}, "expect": {"accepted": true}}``,
as in ``data/requests.jsonl``. Its placeholders are those of :mod:`identengine.loadgen.pattern`. ``expect`` is
optional and names fields of the result. ``{"error": -32602}`` expects an error. Any other error is a wrong answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from identengine.calls.backend import LegResult
from identengine.errors import IdentengineError, expected, nearest, one_of, quoted
from identengine.identify.explain import Explanation
from identengine.model.records import Decision
from identengine.wire.jsonrpc.messages import Pong
from identengine.wire.jsonrpc.methods import METHODS, Result


class Decoder(Protocol):
    """A decoder of results."""

    def decode(self, raw: bytes, /) -> Result:
        """Return the result. Raise ValueError, MsgspecError or RecursionError if the bytes are not a result."""


_KNOWN = 1000
"""Number of different results of one line whose verdicts are kept. Most lines have one result."""
_UNDECODED = (msgspec.MsgspecError, ValueError, RecursionError)
_FIELDS = (
    ("method", str, "a text"),
    ("params", dict, "an object"),
    ("expect", dict, "an object"),
    ("title", str, "a text"),
)


class MixError(IdentengineError):
    """The file of requests has a mistake."""


class Line(msgspec.Struct, frozen=True):
    """One request of a mix."""

    method: str
    params: dict[str, object] = {}
    expect: dict[str, object] = {}
    title: str = ""


class Verdict(NamedTuple):
    """The kind of an answer, and its difference from the expected one, or None."""

    outcome: str
    wrong: str | None = None


def read(path: Path) -> list[Line]:
    """Return the lines of a file.

    Raise MixError, with file and line, if a line is wrong. Raise OSError if the file cannot be read.
    """
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
        raise MixError(f"{path}: the file holds no request")
    return lines


def _line(text: bytes) -> Line:
    """Return the request in a line. Raise ValueError if the line is not a request."""
    try:
        found = msgspec.json.decode(text, type=dict[str, object])
    except _UNDECODED:
        raise ValueError("expected one JSON object on the line") from None
    for name in found:
        if name not in Line.__struct_fields__:
            fields = one_of(Line.__struct_fields__)
            raise ValueError(expected(fields, name, meant=nearest(name, Line.__struct_fields__)))
    for name, kind, called in _FIELDS:
        if not isinstance(found.get(name, kind()), kind) or (name == "method" and name not in found):
            raise ValueError(f"{name}: {expected(called, found.get(name))}")
    return msgspec.convert(found, Line)


def _check(line: Line) -> None:
    spec = METHODS.get(line.method)
    if spec is None or spec.connection_only:
        methods = [name for name, each in METHODS.items() if not each.connection_only]
        raise ValueError(f"method: {expected(one_of(methods), line.method, meant=nearest(line.method, methods))}")
    fields = {*spec.result.__struct_fields__, "error"}
    for name in sorted(line.expect.keys() - fields):
        wanted = f"a field of the result of {line.method}, or error"
        raise ValueError(f"expect: {expected(wanted, name, meant=nearest(name, fields))}")


def differences(fields: Mapping[str, object], result: Result) -> Iterator[str]:
    """Yield each difference of a result from the expected fields. Other fields may have any value."""
    for name, value in fields.items():
        found = getattr(result, name, None)
        if found != value:
            yield f"{name}: {expected(quoted(value), found)}"


class Judge:
    """The judge of the answers to one line."""

    def __init__(self, line: Line, decoder: Decoder, carried: frozenset[str] | None = None) -> None:
        """``carried`` names the fields of a result that answers carry. Other fields are not compared."""
        self._line = line
        self._decoder = decoder
        self._fields = {
            name: value for name, value in line.expect.items() if carried is None or name in {*carried, "error"}
        }
        self._known: dict[bytes, Verdict] = {}

    def result(self, raw: bytes) -> Verdict:
        """Return the verdict on an encoded result."""
        verdict = self._known.get(raw)
        if verdict is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            verdict = self._known[raw] = self._result(raw)
        return verdict

    def error(self, code: int | str, message: str) -> Verdict:
        """Return the verdict on an error."""
        outcome = f"error {code}"
        right = code == self._line.expect.get("error")
        return Verdict(outcome, None if right else self._wrong(f"{outcome}: {message}"))

    def _result(self, raw: bytes) -> Verdict:
        try:
            result = self._decoder.decode(raw)
        except _UNDECODED as error:
            return Verdict("not understood", self._wrong(f"the result cannot be decoded: {error}"))
        fields = self._fields
        if "error" in fields:
            return Verdict(_outcome(result), self._wrong(f"expected error {fields['error']}, got a result"))
        wrong = "; ".join(differences(fields, result))
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
    assert isinstance(result, LegResult)  # noqa: S101 - the only other kind of result
    return "unknown" if result.unknown else "overcommit" if result.overcommit else "done"
