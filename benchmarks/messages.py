"""Messages to the engine: files for the generator, and options to match the answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from benchmarks import generator, machine, workload
from benchmarks.generator import Options, Record
from benchmarks.workload import Call, Life, Step

Form = Literal["msgpack", "json"]
FORMS: tuple[Form, ...] = ("msgpack", "json")
_ANY_ID = 0xFFFFFFFF
"""A number that MessagePack encodes in five bytes, which the generator overwrites."""
_ID_AT = len(b"\x84\xa2id\xce")
_ANSWER_ID_AT = len(b"\x83\xa7jsonrpc\xa32.0\xa2id\xce")
TCP_CHANNELS = 1
"""Number of TCP connections. All requests in flight share one, as those of one switch do."""
_TIMEOUT = 5.0
"""Time-out of the generator in seconds, as long as a datagram may wait (:data:`benchmarks.served.AGE_MS`)."""
_JSON_MARKER = '"id":"'
DONE: Mapping[str, object] = {"ok": True}
"""The whole result of a ``start`` or ``update`` of a held leg."""
FREED: Mapping[str, object] = {"ok": True, "freed": 1}
"""The whole result of the ``stop`` of a held leg."""


class Message(NamedTuple):
    """A message, and the result that its answer must have."""

    method: str
    params: Mapping[str, object]
    """Parameters. Those that are None are not sent."""
    result: Mapping[str, object]
    """The whole result if it has ``ok``; otherwise a few fields of a decision, in their order there."""
    lane: int
    """Messages of one lane use the same socket or connection, in order."""


def write(path: Path, form: Form, calls: list[Call], life: Life = Life()) -> int:  # noqa: B008 - it is frozen
    """Write the requests of all calls in order. Return their number."""
    return write_steps(path, workload.order(calls, life), form)


def write_steps(path: Path, steps: Iterable[Step], form: Form) -> int:
    """Write requests in the order of the steps. Return their number."""
    return write_messages(path, form, map(of_step, steps))


def write_messages(path: Path, form: Form, messages: Iterable[Message]) -> int:
    """Write messages in their order. Return their number."""
    return generator.write(path, (Record(*encoded(form, each), lane=each.lane & 0xFFFF) for each in messages))


def of_step(step: Step) -> Message:
    """Return the message of one step of a call."""
    request = step.call.request
    if step.method == "authorize":
        result = {"accepted": True, "account_id": step.call.account_id}
        return Message(step.method, msgspec.structs.asdict(request), result, step.place)
    return Message(step.method, {"call_id": request.call_id}, FREED if step.method == "stop" else DONE, step.place)


def encoded(form: Form, message: Message) -> tuple[bytes, bytes]:
    """Return a request, and the bytes that a right answer contains."""
    params = {name: value for name, value in message.params.items() if value is not None}
    whole = "ok" in message.result
    if form == "json":
        request = {"jsonrpc": "2.0", "id": "00000000", "method": message.method, "params": params}
        result = msgspec.json.encode(message.result)
        return msgspec.json.encode(request), result if whole else result[1:-1] + b","
    numbered = {"id": _ANY_ID, "jsonrpc": "2.0", "method": message.method, "params": params}
    result = msgspec.msgpack.encode(message.result)
    return msgspec.msgpack.encode(numbered), result if whole else result[1:]


def options(form: Form, *, count: int, echo: bool = False, tcp: bool = False) -> Options:
    """Return the options of the generator for one form of messages. An echo returns the request itself."""
    framing = ("prefix" if form == "msgpack" else "lines") if tcp else None
    given = Options(count=count, timeout=_TIMEOUT, cpu=machine.cores()[0], unchecked=echo, framing=framing)
    if tcp:
        given = msgspec.structs.replace(given, channels=TCP_CHANNELS)
    if form == "json":
        return msgspec.structs.replace(given, marker=_JSON_MARKER)
    return msgspec.structs.replace(given, id_at=_ID_AT, answer_id_at=_ID_AT if echo else _ANSWER_ID_AT)


def pipelined(options: Options, connections: int, flying: int) -> Options:
    """Return options for some connections, each with a number of requests in flight that are written together."""
    return msgspec.structs.replace(
        options, channels=connections, outstanding=connections * flying, neighbours=flying
    )
