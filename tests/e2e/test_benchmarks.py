"""The generator of the benchmarks: it checks answers, counts losses, and loads only loopback."""

from __future__ import annotations

import contextlib
import hmac
import socket
import threading
from collections.abc import Callable, Iterator
from hashlib import md5
from pathlib import Path
from typing import Self

import pytest
from msgspec.structs import replace
from support import HOST
from support.books import put_rows
from support.programs import program
from support.server import serving

from benchmarks import generator, machine, messages, switches, workload
from benchmarks.generator import Options, Record, WrongAnswersError
from benchmarks.messages import Form
from benchmarks.results import Results, publish
from benchmarks.workload import Life


@pytest.fixture(autouse=True, scope="module")
def compiler() -> str:
    """Return the compiler, since the generator is written in C."""
    return program("cc", "gcc libc6-dev")


@contextlib.contextmanager
def unread() -> Iterator[int]:
    """Yield the port of a UDP socket that is never read."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((HOST, 0))
        yield bound.getsockname()[1]


@pytest.fixture(scope="module")
def made() -> workload.Workload:
    return workload.make(accounts=60, calls=300)


CONFIG = '[identify]\npasswordless_name = "normal"\n'


def test_right_answers_pass_and_a_planted_wrong_one_fails(tmp_path: Path, made: workload.Workload) -> None:
    book = made.book
    put_rows(tmp_path / "store", book.accounts, book.clients, book.dids)
    planted = [*made.calls]
    planted[7] = planted[7]._replace(account_id=planted[8].account_id)
    life = workload.Life(20)  # no account of so small a book is full then
    with serving(tmp_path, CONFIG) as server:
        targets = (f"udp:{HOST}:{server.ports['udp']}", f"tcp:{HOST}:{server.ports['tcp']}")
        forms: tuple[Form, ...] = ("msgpack", "json")
        for form in forms:
            count = messages.write(tmp_path / form, form, made.calls, life)
            assert count == 600
            options = _unhurried(messages.options(form, count=count))
            result = generator.run(targets[0], tmp_path / form, options)
            assert (result.sent, result.answered, result.lost, result.wrong) == (600, 600, 0, 0)
            tcp = _unhurried(messages.options(form, count=count, tcp=True))
            assert generator.run(targets[1], tmp_path / form, tcp).answered == 600

        messages.write(tmp_path / "planted", "json", planted, life)
        options = _unhurried(messages.options("json", count=600))
        with pytest.raises(WrongAnswersError, match=f'"account_id":{planted[7].account_id},') as raised:
            generator.run(targets[0], tmp_path / "planted", options)
        result = raised.value.result
        assert result.wrong == 1
        assert result.first_wrong[0].request == 7
        assert f'"account_id":{made.calls[7].account_id},' in result.first_wrong[0].answer


def _unhurried(options: Options) -> Options:
    return Options(
        count=options.count,
        timeout=20.0,
        outstanding=8,
        id_at=options.id_at,
        answer_id_at=options.answer_id_at,
        marker=options.marker,
        framing=options.framing,
        channels=options.channels,
    )


def test_losses_are_counted(tmp_path: Path) -> None:
    generator.write(tmp_path / "requests", [Record(bytes(8), lane=lane) for lane in range(10)])
    options = Options(count=25, outstanding=5, timeout=0.01, id_at=0)
    with unread() as port:
        result = generator.run(f"udp:{HOST}:{port}", tmp_path / "requests", options)
    assert (result.sent, result.answered, result.lost) == (25, 0, 25)


def test_who_closed_is_a_loss_too(tmp_path: Path) -> None:
    generator.write(tmp_path / "requests", [Record(bytes(8))])
    with unread() as port:
        pass
    result = generator.run(f"udp:{HOST}:{port}", tmp_path / "requests", Options(count=9, timeout=0.01, id_at=0))
    assert (result.sent, result.answered, result.lost) == (9, 0, 9)


@pytest.mark.parametrize(
    "target", ["udp:192.0.2.1:4870", "tcp:128.0.0.1:80", "udp:[2001:db8::1]:53", "udp:localhost"]
)
def test_only_loopback_is_asked(tmp_path: Path, target: str) -> None:
    generator.write(tmp_path / "requests", [Record(bytes(8))])
    with pytest.raises(OSError, match="--target"):
        generator.run(target, tmp_path / "requests", Options(count=1, id_at=0, framing="prefix"))


def test_no_datagram_comes_from_elsewhere(tmp_path: Path) -> None:
    generator.write(tmp_path / "requests", [Record(bytes(8), source="192.0.2.1")])
    with pytest.raises(OSError, match="outside of 127"):
        generator.run(f"udp:{HOST}:9", tmp_path / "requests", Options(count=1, id_at=0))


def test_true_sources_lanes_and_fresh_bytes(tmp_path: Path) -> None:
    """The options that peers need: one source address per datagram, one port per lane, random bytes."""
    records = [Record(b"\0----" + bytes(4), source=f"127.9.0.{place}", lane=place % 3) for place in range(1, 7)]
    generator.write(tmp_path / "requests", records)
    options = Options(count=6, channels=3, timeout=0.01, id_at=0, id_bytes=1, random_at=1, random_bytes=4)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((HOST, 0))
        generator.run(f"udp:{HOST}:{bound.getsockname()[1]}", tmp_path / "requests", options)
        bound.setblocking(False)
        received = [bound.recvfrom(100) for _ in records]
    assert sorted(source[0] for _, source in received) == [record.source for record in records]
    ports: dict[int, set[int]] = {}
    for _, (host, port) in received:
        ports.setdefault(int(host.rpartition(".")[2]) % 3, set()).add(port)
    assert all(len(used) == 1 for used in ports.values())
    assert len(set.union(*ports.values())) == 3
    assert len({raw[1:5] for raw, _ in received}) == 6


def test_replies_of_resp_are_known_by_their_order(tmp_path: Path) -> None:
    replies = [b"+OK\r\n", b":12\r\n", b"$5\r\nab\r\nc\r\n", b"*2\r\n$-1\r\n:3\r\n", b"$-1\r\n"]
    generator.write(tmp_path / "requests", [Record(b"x", expected=reply) for reply in replies])
    options = Options(count=10, channels=1, outstanding=10, timeout=20, in_order=True, framing="resp")
    with socket.create_server((HOST, 0)) as listening:
        target = f"tcp:{HOST}:{listening.getsockname()[1]}"
        answering = _Answering(listening, b"".join(replies * 2))
        with answering:
            assert generator.run(target, tmp_path / "requests", options).answered == 10
        generator.write(tmp_path / "requests", [Record(b"x", expected=reply) for reply in reversed(replies)])
        with answering, pytest.raises(WrongAnswersError):
            generator.run(target, tmp_path / "requests", options)


class _Answering:
    """A server that answers one connection, a byte at a time."""

    def __init__(self, listening: socket.socket, answers: bytes) -> None:
        self._listening, self._answers = listening, answers

    def __enter__(self) -> None:
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    def _answer(self) -> None:
        connection, _ = self._listening.accept()
        with connection:
            asked = 0
            while asked < 10:
                asked += len(connection.recv(100))
            for byte in self._answers:
                connection.send(bytes((byte,)))
            connection.recv(1)  # the end of the stream

    def __exit__(self, *_: object) -> None:
        self._thread.join(20)


def test_latency_of_a_paced_run_counts_from_the_schedule(tmp_path: Path) -> None:
    generator.write(tmp_path / "requests", [Record(bytes(8))])
    options = Options(count=20, rate=200.0, timeout=20, id_at=0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((HOST, 0))

        def answer_once_all_have_asked() -> None:
            asked = [bound.recvfrom(100) for _ in range(20)]
            for raw, source in asked:
                bound.sendto(raw, source)

        answering = threading.Thread(target=answer_once_all_have_asked)
        answering.start()
        result = generator.run(f"udp:{HOST}:{bound.getsockname()[1]}", tmp_path / "requests", options)
        answering.join(20)
    assert (result.answered, result.lost) == (20, 0)
    assert result.latency.max > 90_000
    assert result.latency.p50 > 40_000


def test_the_workload_is_what_it_says(made: workload.Workload) -> None:
    counts = [sum(call.account_id == account.id for call in made.calls) for account in made.book.accounts]
    assert max(counts) - min(count for count in counts if count) <= 1
    assert all(account.orig_capacity for account in made.book.accounts)
    assert all((call.request.src_ip or "").startswith("127.") for call in made.calls)
    keys = {(call.account_id, call.key, call.tech_prefix) for call in made.calls}
    assert len(keys) == len({account for account, _, _ in keys})


@pytest.mark.parametrize("life", [Life(0), Life(20), Life(20, ("start", "update")), Life(20, ("start",), True)])
def test_calls_are_held_for_their_lives(made: workload.Workload, life: Life) -> None:
    steps = list(workload.order(made.calls, life))
    assert [step.place for step in steps if step.method == "authorize"] == list(range(300))
    held: dict[int, list[str]] = {}
    most = 0
    for step in steps:
        if step.method == "authorize":
            held[step.place] = [step.method]
        else:
            held[step.place].append(step.method)
        if step.method == "stop":
            assert held.pop(step.place) == ["authorize", *life.between, "stop"]
        most = max(most, len(held))
    assert not held
    if not life.scattered:
        assert most == life.held + 1
    else:
        assert life.held < most < 3 * life.held


@pytest.mark.parametrize("plain", [True, False])
def test_figures_are_printed_with_the_build_of_the_interpreter(
    plain: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "is_plain_build", lambda _: plain)
    publish(
        Results(
            name="walk",
            title="A walk",
            method="On foot.",
            quick=True,
            date="2026-01-01",
            machine=machine.describe(),
            first="case",
            columns=[],
            rows=[],
        ),
        None,
    )
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("CPython 3."))
    assert line.endswith("built without profile-guided optimization") == plain


class _RadiusServer:
    """A server that verifies packets and answers them, some of them wrongly if ``spoil`` changes the answer."""

    def __init__(self, spoil: Callable[[bytearray], None]) -> None:
        self.codes: list[int] = []
        self._spoil = spoil
        self._sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(2)]
        for each in self._sockets:
            each.bind((HOST, 0))
        self.ports = [each.getsockname()[1] for each in self._sockets]
        self._threads = [threading.Thread(target=self._serve, args=(each,)) for each in self._sockets]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for each, thread in zip(self._sockets, self._threads, strict=True):
            with socket.socket(type=socket.SOCK_DGRAM) as last:
                last.sendto(b"", each.getsockname())
            thread.join()
            each.close()

    def _serve(self, opened: socket.socket) -> None:
        secret = switches.SECRET.encode()
        while request := (received := opened.recvfrom(4096))[0]:
            zeroed = request if request[0] == 4 else request[:22] + bytes(16) + request[38:]
            assert switches.signed(zeroed) == request
            self.codes.append(request[0])
            answer = bytearray((5 if request[0] == 4 else 2, request[1], 0, 0)) + request[4:20]
            answer += b"" if request[0] == 4 else switches.SIGNED
            answer += switches.attribute(18, b"text")
            answer[2:4] = len(answer).to_bytes(2)
            if request[0] != 4:
                answer[22:38] = hmac.digest(secret, answer, "md5")
            answer[4:20] = md5(answer + secret).digest()
            self._spoil(answer)
            opened.sendto(answer, received[1])


def _change(place: int) -> Callable[[bytearray], None]:
    def spoil(answer: bytearray) -> None:
        answer[place] ^= 1

    return spoil


@pytest.mark.parametrize("place", [None, 4, 19, 22, -1])
def test_packets_of_radius_are_signed_and_answers_verified(
    tmp_path: Path, made: workload.Workload, place: int | None
) -> None:
    count = generator.write(
        tmp_path / "requests",
        (
            Record(encode(call), switches.attribute(18, b"text"))
            for call in made.calls[:50]
            for encode in (switches.access_request, switches.accounting_stop)
        ),
    )
    with _RadiusServer((lambda _: None) if place is None else _change(place)) as server:
        options = replace(switches.radius_options(count, server.ports[1]), cpu=None, outstanding=8, timeout=20.0)
        target = f"udp:{HOST}:{server.ports[0]}"
        if place is None:
            result = generator.run(target, tmp_path / "requests", options)
            assert (result.answered, result.lost, result.unexpected) == (100, 0, 0)
        else:
            with pytest.raises(WrongAnswersError) as raised:
                generator.run(target, tmp_path / "requests", options)
            assert raised.value.result.wrong == 100
    assert sorted(server.codes) == [1] * 50 + [4] * 50


def test_a_request_that_cannot_be_signed(tmp_path: Path) -> None:
    generator.write(
        tmp_path / "requests", [Record(switches.packet(1, switches.attribute(1, b"no authenticator")))]
    )
    with pytest.raises(OSError, match="cannot be signed"):
        generator.run(f"udp:{HOST}:9", tmp_path / "requests", switches.radius_options(1, None))
