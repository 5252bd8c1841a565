"""The parts of the load generator: histogram, patterns, order of messages, and readers."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from identengine.client.exchange import MAX_ANSWER, Encoding
from identengine.errors import WireError
from identengine.loadgen.latency import Histogram
from identengine.loadgen.mix import Judge, Line, MixError, read
from identengine.loadgen.order import Source
from identengine.loadgen.pattern import Pattern, seeded
from identengine.loadgen.protocols import BareReply, Http, JsonRpc
from identengine.loadgen.target import TargetError, target
from identengine.wire.framing.prefixed import Prefixed
from identengine.wire.jsonrpc.messages import ResponseMessage


def test_percentiles_are_right_to_the_128th() -> None:
    chance = random.Random(7)
    histogram = Histogram()
    times = sorted([0, 1, 255, 256, 257] + [int(10 ** chance.uniform(0, 7)) for _ in range(5000)])
    for micro in times:
        histogram.add(micro * 1000)
    for share in (0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0):
        exact = times[max(0, -int(-len(times) * share // 1) - 1)]
        assert exact <= histogram.at(share) <= exact + exact / 128 + 1
    assert histogram.largest == histogram.at(1) == times[-1]
    assert (histogram.count, histogram.total) == (len(times), sum(times))
    assert Histogram().at(0.5) == 0
    histogram.add(2**40 * 1000 - 1)  # the longest time that fits


def pattern(params: dict[str, object], interface: JsonRpc | Http, seed: int = 1) -> Pattern:
    def render(number: str, filled: dict[str, object]) -> bytes:
        return interface.render("authorize", filled, number)

    return Pattern(render, params, random.Random(seed))


def unpacked(message: bytes, encoding: Encoding, *, stream: bool) -> Any:
    if encoding == "json":
        return json.loads(message)
    if stream:
        (message,) = Prefixed(1 << 16).feed(message)
    return msgspec.msgpack.decode(message)


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize("stream", [True, False])
def test_patterns_are_filled(encoding: Encoding, stream: bool) -> None:
    params: dict[str, object] = {
        "z": "{n}",
        "call_id": "100% of {n}-{n} é",
        "a": "{random:3}",
        "digest": {"nonce": "{n:2}", "uri": "sip:%s"},
        "calls": [["{n}", None], 5],
    }
    made = pattern(params, JsonRpc(encoding, None, stream=stream))
    for number, n in ((1, 0), (999, 1234), (10**12 - 1, 10**11)):
        message = unpacked(made.fill(number, n), encoding, stream=stream)
        assert message["id"] == f"{number:012}"
        filled = message["params"]
        assert filled["z"] == f"{n:012}"
        assert filled["call_id"] == f"100% of {n:012}-{n:012} é"
        assert len(filled["a"]) == 3
        assert int(filled["a"]) < 1000
        assert filled["digest"] == {"nonce": f"{n % 100:02}", "uri": "sip:%s"}
        assert filled["calls"] == [[f"{n:012}", None], 5]


def test_the_seed_is_filled_in() -> None:
    params: dict[str, object] = {"a": "{seed}-{n}", "b": [{"c": "{seed:2}"}, 1], "d": 5}
    assert seeded(params, 4321) == {"a": f"{4321:012}-{{n}}", "b": [{"c": "21"}, 1], "d": 5}


def test_a_line_without_placeholders_and_one_of_a_pass_before() -> None:
    interface = JsonRpc("json", "secret", stream=False)
    plain = pattern({"src_ip": "10.0.0.1"}, interface)
    assert json.loads(plain.fill(3, 9))["params"] == {"src_ip": "10.0.0.1", "token": "secret"}
    behind = pattern({"call_id": "{n-500}"}, interface)
    assert (plain.behind, behind.behind) == (0, 500)
    assert json.loads(behind.fill(3, 9))["params"]["call_id"] == f"{9:012}"


def test_chance_is_the_same_for_the_same_seed() -> None:
    first, second, other = (
        [made.fill(1, n) for n in range(10)]
        for made in (pattern({"a": "{random}"}, JsonRpc("json", None, stream=True), seed) for seed in (1, 1, 2))
    )
    assert first == second != other


@pytest.mark.parametrize("text", ["{m}", "{n", "{}", "{n:0}", "{n:19}", "{random-1}", "{n} {n-1}", "{n-12345678}"])
def test_wrong_placeholders(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected "):
        pattern({"call_id": text}, JsonRpc("json", None, stream=True))


@pytest.mark.parametrize(("passes", "step"), [(0, 1), (1, 1), (7, 1), (50, 1), (50, 3), (2, 3)])
def test_every_call_gets_every_line_once_and_in_order(passes: int, step: int) -> None:
    interface = JsonRpc("json", None, stream=True)
    lines = [pattern({"call_id": f"{{n{behind}}}"}, interface) for behind in ("", "-4", "", "-10")]
    everything: list[tuple[int, int]] = []
    for first in range(step):
        own = list(Source(lines, first, step, len(range(first, passes, step))))
        for n in range(first, passes, step):
            assert [line for line, call in own if call == n] == [0, 2, 1, 3]
        everything += own
    assert Counter(everything) == {(line, n): 1 for line in range(4) for n in range(passes)}


@pytest.mark.parametrize("stop", range(1, 30))
def test_a_run_that_ends_in_the_midst_brings_all_to_its_end(stop: int) -> None:
    lines = [
        pattern({"call_id": f"{{n{behind}}}"}, JsonRpc("json", None, stream=True)) for behind in ("", "", "-3")
    ]
    source = Source(lines, 0, 1, None)
    messages = iter(source)
    sent = [next(messages) for _ in range(stop)]
    source.finish()
    sent += messages
    begun = {n for _, n in sent}
    assert Counter(sent) == {(line, n): 1 for line in range(3) for n in begun}


def test_a_mix_that_is_wrong_says_where(tmp_path: Path) -> None:
    path = tmp_path / "mix.jsonl"
    good = '{"method": "ping"}\n'
    for bad, said in (
        ("{", "expected one JSON object"),
        ('{"method": "auth"}', 'method: expected .* or "ping", got "auth"'),
        ('{"method": "ask"}', 'method: expected "authorize", "identify", .*, got "ask"'),
        (
            '{"method": "stop", "expect": {"accepted": true}}',
            'expect: expected a field of the result of stop, or error, got "accepted"',
        ),
        (
            '{"method": "stop", "parms": {}}',
            'expected "method", .* or "title", got "parms"; did you mean "params"',
        ),
        ('{"params": {}}', "method: expected a text, got null"),
        ('{"method": "stop", "params": []}', r"params: expected an object, got \[\]"),
        ('{"method": "stop", "title": 1}', "title: expected a text, got 1"),
        ("[]", "expected one JSON object"),
    ):
        path.write_text(good + "\n" + bad)
        with pytest.raises(MixError, match=f"mix.jsonl:3: .*{said}"):
            read(path)
    path.write_text("\n")
    with pytest.raises(MixError, match="no request"):
        read(path)
    path.write_text(good * 2)
    assert len(read(path)) == 2


def test_answers_are_judged_by_what_is_expected() -> None:
    line = Line("authorize", {}, {"accepted": False, "reason": "no_did", "account_id": None}, "a title")
    judge = Judge(line, JsonRpc("json", None, stream=True).decoder("authorize"))
    assert judge.result(b'{"accepted":false,"reason":"no_did"}') == ("no_did", None)
    assert judge.result(b'{"accepted":false,"reason":"overload"}').wrong == (
        'a title: reason: expected "no_did", got "overload"'
    )
    assert judge.result(b'{"accepted":true,"account_id":5}').outcome == "accepted"
    assert judge.result(b"17").outcome == "not understood"
    assert judge.error(-32602, "src_ip").wrong == "a title: error -32602: src_ip"
    for number in range(2500):  # the memory of verdicts is bounded
        assert judge.result(b'{"accepted":true,"account_id":%d}' % number).wrong
    expecting = Judge(Line("stop", {}, {"error": -32602}), JsonRpc("json", None, stream=True).decoder("stop"))
    assert expecting.error(-32602, "call_id") == ("error -32602", None)
    assert expecting.result(b'{"ok":true}').wrong == "stop: expected error -32602, got a result"


HTTP = b"HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: 11\r\n\r\n" + b'{"ok":true}'
HTTP += b"HTTP/1.1 503 Service Unavailable\r\nContent-Length:  4\r\n\r\naway"


def test_http_answers_however_they_are_cut() -> None:
    for cut in range(len(HTTP)):
        reader = Http("h", None).reader()
        replies = [*reader.feed(HTTP[:cut]), *reader.feed(HTTP[cut:])]
        assert [bytes(reply.result) for reply in replies] == [b'{"ok":true}', b""]
        error = replies[1].error
        assert error is not None
        assert (error.code, error.message) == ("HTTP 503", "away")


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_stream_answers_however_they_are_cut(encoding: Encoding) -> None:
    interface = JsonRpc(encoding, None, stream=True)
    stream = b"".join(interface.render("ping", {}, f"{number:012}") for number in range(3))
    for cut in range(len(stream)):
        reader = interface.reader()
        replies = [*reader.feed(stream[:cut]), *reader.feed(stream[cut:])]
        assert [int(reply.id or -1) for reply in replies] == [0, 1, 2]


@pytest.mark.parametrize(
    ("interface", "said"),
    [
        (JsonRpc("json", None, stream=True), b"garbage\n"),
        (JsonRpc("json", None, stream=True), b"x" * (MAX_ANSWER + 1)),
        (JsonRpc("json", None, stream=True), b'{"id":' + b"[" * 100_000 + b"\n"),
        (JsonRpc("json", None, stream=False), b"garbage"),
        (JsonRpc("msgpack", None, stream=True), b"\xff\xff\xff\xff"),
        (JsonRpc("msgpack", None, stream=True), b"\x00\x00\x00\x01\xc1"),
        (Http("h", None), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (Http("h", None), b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"),
        (Http("h", None), b"SSH-2.0\r\n\r\n"),
        (Http("h", None), b"x" * (MAX_ANSWER + 1)),
    ],
)
def test_what_is_no_answer(interface: JsonRpc | Http, said: bytes) -> None:
    with pytest.raises(WireError):
        interface.reader().feed(said)
    assert BareReply().error is None
    assert ResponseMessage().error is None


def test_targets() -> None:
    for url, wanted in (
        ("udp://127.0.0.1", "udp://127.0.0.1:4870"),
        ("tls://localhost", "tls://localhost:4871"),
        ("http://[::1]:80/", "http://[::1]:80"),
    ):
        assert target(url, "json", None, 1).url == wanted
        assert target(url, "json", None, 1).on_loopback()
    assert not target("udp://192.0.2.1", "json", None, 1).on_loopback()
    for url in ("127.0.0.1", "ftp://x", "udp://", "udp://x:y", "http://x/path", "tcp://user@x", "tcp://x:99999"):
        with pytest.raises(TargetError):
            target(url, "json", None, 1)
    with pytest.raises(TargetError, match="JSON"):
        target("http://127.0.0.1", "msgpack", None, 1)
