"""The workload as messages to the engine: files for the generator, and options to match the answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from benchmarks import generator, machine, workload
from benchmarks.generator import Options, Record
from benchmarks.workload import Call, Step

Form = Literal["msgpack", "json"]
_ANY_ID = 0xFFFFFFFF
"""A number that MessagePack encodes in five bytes, which the generator overwrites."""
_ID_AT = len(b"\x84\xa2id\xce")
_ANSWER_ID_AT = len(b"\x83\xa7jsonrpc\xa32.0\xa2id\xce")
TCP_CHANNELS = 1
"""Number of TCP connections. All requests in flight share one, as those of one switch do."""
_TIMEOUT = 5.0
"""Time-out of the generator in seconds, as long as a datagram may wait (:data:`benchmarks.served.AGE_MS`)."""
_JSON_MARKER = '"id":"'


def write(path: Path, form: Form, calls: list[Call], lag: int = workload.LAG) -> int:
    """Write the requests of all calls in order. Return their number."""
    return generator.write(path, _records(form, calls, lag))


def _records(form: Form, calls: list[Call], lag: int) -> Iterator[Record]:
    for step in workload.order(calls, lag):
        payload, expected = message(form, step)
        yield Record(payload, expected, lane=step.place & 0xFFFF)


def message(form: Form, step: Step) -> tuple[bytes, bytes]:
    """Return a request, and the bytes that a right answer contains.

    The answer to an authorized call names its account right after ``accepted``. The answer to a stop reports one
    freed leg.
    """
    if step.stop:
        asked = {"call_id": step.call.request.call_id}
        method, wanted = "stop", {"freed": 1}
    else:
        asked = {
            name: value for name, value in msgspec.structs.asdict(step.call.request).items() if value is not None
        }
        method, wanted = "authorize", {"accepted": True, "account_id": step.call.account_id}
    if form == "json":
        whole = {"jsonrpc": "2.0", "id": "00000000", "method": method, "params": asked}
        expected = msgspec.json.encode(wanted)[1:-1]
        return msgspec.json.encode(whole), expected + (b"}" if step.stop else b",")
    numbered = {"id": _ANY_ID, "jsonrpc": "2.0", "method": method, "params": asked}
    return msgspec.msgpack.encode(numbered), msgspec.msgpack.encode(wanted)[1:]


def options(form: Form, *, count: int, echo: bool = False, tcp: bool = False) -> Options:
    """Return the options of the generator for one form of messages. An echo returns the request itself."""
    given = Options(
        count=count, timeout=_TIMEOUT, cpu=machine.cores()[0], unchecked=echo, framing="prefix" if tcp else None
    )
    if form == "json":
        return msgspec.structs.replace(given, marker=_JSON_MARKER)
    if tcp:
        given = msgspec.structs.replace(given, channels=TCP_CHANNELS)
    return msgspec.structs.replace(given, id_at=_ID_AT, answer_id_at=_ID_AT if echo else _ANSWER_ID_AT)
