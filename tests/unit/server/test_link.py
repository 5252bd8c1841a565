"""The link between the supervisor and its children: frames arrive whole and in order, and no side waits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import tomllib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from identengine.config import codec
from identengine.config.schema import Config
from identengine.config.sections import from_values
from identengine.net.sockets import Sockets
from identengine.server.link import IDLE, LOADED, READY, TAKE_OVER, ChildEnd, Duty, SupervisorEnd
from identengine.server.supervisor.children import Child, Children, Role
from identengine.server.supervisor.reload import Reload


def config(named: str, switches: int = 1) -> Config:
    text = "".join(
        f'[[switch]]\nname = "{named} {number}"\naddresses = ["127.0.0.1"]\ntoken = "secret {number}"\n'
        for number in range(switches)
    )
    return from_values(tomllib.loads(text), None)


class Pair:
    """Both ends of a link, and the calls that the child received."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
        none = self.theirs  # the link uses none of these sockets
        self.supervisor = SupervisorEnd(self.ours, IDLE)
        self.child = ChildEnd(Duty(Sockets([], [], [], none, none, None, [], []), self.theirs, frozenset()), IDLE)
        self.told: list[str] = []
        self.fault: Exception | None = None

    def reconfigure(self, config: Config) -> None:
        self.told.append(config.switches[0].name)
        if self.fault is not None:
            raise self.fault

    @contextlib.contextmanager
    def attended(self) -> Iterator[None]:
        with self.child.attend(
            end=lambda: self.told.append("end"),
            orphaned=lambda: self.told.append("orphaned"),
            reconfigure=self.reconfigure,
            words={TAKE_OVER: lambda: self.told.append("take over")},
        ):
            yield


@pytest.fixture
def pair() -> Iterator[Pair]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    made = Pair()
    yield made
    made.ours.close()
    made.theirs.close()
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def running(pair: Pair, test: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        with pair.attended():
            await asyncio.wait_for(test(), 20)

    asyncio.run(run())


async def heard(pair: Pair, count: int) -> None:
    """Run the child until it has received this many calls. The supervisor reads and writes nothing."""
    while len(pair.told) < count:  # noqa: ASYNC110 - the test waits for the loop
        await asyncio.sleep(0)


async def until(pair: Pair, what: Callable[[], bool]) -> None:
    """Run both sides until ``what`` is true."""
    while not what():
        pair.supervisor.hear()
        pair.supervisor.flush()
        await asyncio.sleep(0)


def test_a_long_config_and_a_frame_after_it(pair: Pair) -> None:
    async def test() -> None:
        large = codec.encode(config("large", 20_000))
        assert len(large) > 4 * pair.ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        pair.supervisor.hand(large)
        assert pair.supervisor.behind
        pair.supervisor.tell(TAKE_OVER)
        await until(pair, lambda: not pair.supervisor.behind)
        await until(pair, lambda: len(pair.told) == 2)
        assert pair.told == ["large 0", "take over"]
        assert pair.supervisor.state == IDLE

    running(pair, test)


def test_frames_that_were_sent_before_the_child_listens(pair: Pair) -> None:
    """A child that is just starting finds them in its socket."""
    pair.supervisor.hand(codec.encode(config("first")))
    pair.supervisor.tell(TAKE_OVER)

    async def test() -> None:
        await until(pair, lambda: len(pair.told) == 2 and not pair.supervisor.behind)
        assert pair.told == ["first 0", "take over"]

    running(pair, test)


def test_of_many_configs_only_the_newest_waits(pair: Pair) -> None:
    pair.supervisor.hand(codec.encode(config("first", 20_000)))
    for number in range(1000):
        pair.supervisor.hand(codec.encode(config(f"{number}.")))

    async def test() -> None:
        await until(pair, lambda: not pair.supervisor.behind)
        assert pair.told == ["first 0", "999. 0"]

    running(pair, test)


def test_a_config_counts_when_it_is_in_force(pair: Pair) -> None:
    async def test() -> None:
        pair.supervisor.hand(codec.encode(config("a")))
        pair.supervisor.hand(codec.encode(config("b")))
        pair.child.tell(READY)
        assert pair.supervisor.hear()
        assert pair.supervisor.behind, "a sign of life does not confirm a config"
        await until(pair, lambda: not pair.supervisor.behind)
        assert pair.told == ["a 0", "b 0"]
        assert pair.supervisor.state == READY

    running(pair, test)


def test_a_confirmation_without_room_is_sent_with_the_next_sign_of_life(pair: Pair) -> None:
    async def test() -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                pair.theirs.send(LOADED)
        pair.supervisor.hand(codec.encode(config("a")))
        await heard(pair, 1)
        pair.supervisor.hear()
        assert pair.supervisor.behind
        pair.child.tell(READY)
        pair.supervisor.hear()
        assert not pair.supervisor.behind

    running(pair, test)


def test_an_exception_loses_no_frame_and_shows_no_secret(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("asyncio")
    logger.addHandler(caplog.handler)

    async def test() -> None:
        pair.fault = RuntimeError("of the test")
        pair.supervisor.hand(codec.encode(config("a")))
        pair.supervisor.tell(TAKE_OVER)
        await until(pair, lambda: len(pair.told) == 2)
        assert pair.told == ["a 0", "take over"]
        assert pair.supervisor.behind
        pair.fault = None
        pair.supervisor.hand(codec.encode(config("b")))
        await until(pair, lambda: not pair.supervisor.behind)
        assert pair.told[2:] == ["b 0"], "the newest config is in force, although the last one failed"

    try:
        running(pair, test)
    finally:
        logger.removeHandler(caplog.handler)
    assert "of the test" in caplog.text
    assert "secret" not in caplog.text


def test_the_end_of_the_stream_and_signals(pair: Pair) -> None:
    async def test() -> None:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
        await heard(pair, 1)
        pair.ours.close()
        await heard(pair, 2)
        assert pair.told == ["end", "orphaned"]

    running(pair, test)
    assert {signal.SIGTERM, signal.SIGINT} <= signal.pthread_sigmask(signal.SIG_BLOCK, ())


# ---- the reload of the supervisor


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr("identengine.log.handlers.set_up_direct", lambda _: None)
    logger = logging.getLogger("identengine")
    monkeypatch.setattr(logger, "propagate", True)
    logger.setLevel("INFO")
    return caplog


@pytest.fixture
def child(pair: Pair) -> Child:
    return Child(Role.DECIDER, 1, pair.supervisor)


class Family(Children):
    """The children that a test has made."""

    def __init__(self, *children: Child) -> None:
        super().__init__(list)
        self._of = {child.role: child for child in children}


def test_the_changes_are_logged_when_every_child_has_applied_them(
    tmp_path: Path, pair: Pair, child: Child, said: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[limits]\nconnections = 5\n")
    reload = Reload(Family(child))
    new = reload.begin(from_values({}, file))
    assert new.limits.connections == 5
    reload.look()
    assert (reload.over, said.messages) == (False, [])

    async def test() -> None:
        while not reload.over:
            child.hear()
            reload.look()
            await asyncio.sleep(0)

    running(pair, test)
    assert pair.told == ["local"]
    assert said.messages == ["SIGHUP: changed: [limits]"]


def test_a_late_child_is_named(
    tmp_path: Path, child: Child, said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[log]\n")
    reload = Reload(Family(child))
    monkeypatch.setattr("identengine.server.supervisor.reload.RELOAD_SECONDS", 0.0)
    reload.begin(from_values({}, file))
    reload.look()
    assert reload.over
    late = "SIGHUP: the decider (pid 1) does not use the new config yet"
    assert said.messages == ["SIGHUP: changed: nothing", late]


def test_several_reloads_are_one_line(
    tmp_path: Path, pair: Pair, child: Child, said: pytest.LogCaptureFixture
) -> None:
    """A SIGHUP soon after another one does not delay the second config."""
    file = tmp_path / "c.toml"
    reload = Reload(Family(child))
    new = from_values({}, file)
    for text in ("[log]\nlevel = 'error'", "[limits]\nconnections = 5", "[limits]\nconnections = 6"):
        file.write_text(text)
        new = reload.begin(new)
        reload.look()
    assert (reload.over, said.messages) == (False, [])
    file.write_text("[limits")
    assert reload.begin(new) is new
    assert not reload.over, "an invalid config does not affect a pending reload"

    async def test() -> None:
        while not reload.over:
            child.hear()
            reload.look()
            await asyncio.sleep(0)

    running(pair, test)
    assert said.messages[-1] == "SIGHUP: changed: [limits], [log]"
    assert not any("does not use the new config" in message for message in said.messages)


def test_a_reload_does_not_wait_for_a_leaving_decider(
    tmp_path: Path, child: Child, said: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[log]\n")
    child.role = Role.LEAVING
    reload = Reload(Family(child))
    reload.begin(from_values({}, file))
    assert child.link.behind, "the config was sent, though"
    reload.look()
    assert reload.over
    assert said.messages == ["SIGHUP: changed: nothing"]


def test_an_invalid_config_and_no_config(tmp_path: Path, child: Child, said: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[limits]\nconnections = 0\n")
    reload = Reload(Family(child))
    old = from_values({}, file)
    assert reload.begin(old) is old
    assert reload.refused
    assert reload.over
    assert "[limits] connections" in said.messages[0]
    assert said.messages[1].startswith("SIGHUP: the config has mistakes; nothing was changed")
    nowhere = from_values({}, None)
    assert reload.begin(nowhere) is nowhere
    assert said.messages[2] == "SIGHUP: this server runs without a config file; nothing was read"
    assert not child.link.behind
