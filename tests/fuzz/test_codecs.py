"""Messages of a connection in JSON and MessagePack, whole or damaged.

Invariant: no message raises an exception or becomes an ``internal_error``. Each answer is well formed and echoes
the id of its message. The next right message has the right answer.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
from fuzz.messages import IDS, batch
from fuzz.mutation import mutated
from fuzz.rounds import Case, Rounds, rounds
from fuzz.subject import EITHER, PLAIN, WITH_TOKEN, Subject, check, decoded, session, subject
from fuzz.values import Broken, Members, to_json, to_messagepack

from identengine.wire.codes import INVALID_REQUEST, PARSE_ERROR
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, Codec
from identengine.wire.session import MAX_UNPROVEN

MESSAGES = 50
"""Number of messages of a connection."""
DAMAGED = 0.3
"""Share of the messages that are damaged after they were encoded."""


@rounds(200)
def test_json(cases: Rounds) -> None:
    for case in cases.within_memory():
        with case, subject() as asked:
            converse(case, asked, JSON)


@rounds(200)
def test_messagepack(cases: Rounds) -> None:
    for case in cases.within_memory():
        with case, subject() as asked:
            converse(case, asked, MESSAGEPACK)


def converse(case: Case, asked: Subject, codec: Codec) -> None:
    """Send messages over one connection after another, since an error of parsing closes a connection."""
    host = case.choice((PLAIN, PLAIN, WITH_TOKEN, EITHER))
    peer = session(host)
    for number in range(MESSAGES):
        value = batch(case)
        raw = (to_json if codec is JSON else to_messagepack)(case, value)
        whole = not case.often(DAMAGED)
        case.input = raw = raw if whole else mutated(case, raw)
        late: list[bytes] = []
        answers, closed = asked.responder.stream(codec, [raw], peer, late=late.append)
        asked.work()
        asked.sound()
        found = [one for answer in (*answers, *late) for one in check(decoded(codec, answer))]
        assert len(answers) + len(late) <= 1
        expected = ids(codec, raw)
        for one in found:
            assert one["id"] is None or expected is None or any(same(one["id"], each) for each in expected)
        if codec is JSON and whole and names_itself(value) and not peer.is_unproven(connected=True):
            assert all(one["id"] is not None or None in expected for one in found if expected), found
        codes = [one.get("error", {}).get("code") for one in found]
        spent = peer.is_unproven(connected=True) and peer.refused >= MAX_UNPROVEN
        unparsable = codes == [PARSE_ERROR] and not isinstance(decoded(codec, answers[0]), list)
        assert closed == (unparsable or spent)
        if spent:
            peer = session(host)
        if codec is JSON and host == PLAIN and not is_json(raw):
            assert codes in ([PARSE_ERROR], [INVALID_REQUEST]), found
        asked.answers_good(codec, number, session(PLAIN))
    asked.report()


def names_itself(value: Any) -> bool:
    """Return True if a message is an object with one usable id, and no part of it is broken."""
    if not isinstance(value, Members) or not is_sound(value):
        return False
    names = [name for name, _ in value]
    found = [of for name, of in value if name == "id"]
    return len(set(map(str, names))) == len(names) and len(found) == 1 and any(same(found[0], one) for one in IDS)


def is_sound(value: Any) -> bool:
    """Return True if no part of a value is broken."""
    if isinstance(value, Members):
        return all(is_sound(part) for pair in value for part in pair)
    if isinstance(value, dict):
        return all(is_sound(part) for pair in value.items() for part in pair)
    return not isinstance(value, Broken) and (not isinstance(value, list) or all(map(is_sound, value)))


def is_json(raw: bytes) -> bool:
    """Return True if an independent parser takes these bytes as JSON. Its texts need not be UTF-8.

    The texts of members that no decoder reads are not checked, which would cost time in each message.
    """
    try:
        json.loads(raw.decode(errors="replace"), parse_constant=_refuse, parse_int=len)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(_: str) -> None:
    raise ValueError


def same(one: Any, other: Any) -> bool:
    """Return True if two ids are equal and of one type."""
    return type(one) is type(other) and one == other


def ids(codec: Codec, raw: bytes) -> list[Any] | None:
    """Return all ids in a message, as an independent parser reads them; None if it reads none."""
    found: list[Any] = []

    def keep(pairs: list[tuple[str, Any]]) -> None:
        found.extend(value for name, value in pairs if name == "id")

    try:
        if codec is JSON:
            json.loads(raw.decode(), object_pairs_hook=keep)
            return found
        value = msgspec.msgpack.decode(raw)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return None
    return [one.get("id") for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]
