"""The hand-over spoken by hand: wrong versions, ends and hangs leave the old server as it was."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.upgrade.servers import GOOD, TAKE_OVER, answering, close, still_held
from support.processes import runs
from support.server import Server
from support.switch import request
from support.waiting import PATIENCE, wait_for

from identengine.server.supervisor import handover
from identengine.server.supervisor.handover import HandoverError, OtherServer


@pytest.fixture(autouse=True)
def no_signals_of_sockets() -> Iterator[None]:
    """Ignore SIGIO, which a supervisor blocks: an OtherServer has it sent to this process."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGIO, before)


@contextlib.contextmanager
def asking(server: Server) -> Iterator[OtherServer]:
    """Ask a server to hand over; whoever asks is this process."""
    asked = handover.ask(server.folder / "calls")
    assert asked is not None
    peer, sockets = asked
    try:
        kinds = [one.kind for one in sockets]
        assert kinds[:2] == ["udp", "tcp"]
        assert "control" in kinds
        yield peer
    finally:
        close(sockets)
        peer.close()


def heard(peer: OtherServer) -> handover.Message:
    found = wait_for(peer.hear)
    for descriptor in found[1]:
        os.close(descriptor)
    message: handover.Message = found[0]
    return message


def test_one_at_a_time(server: Server) -> None:
    with asking(server):
        with pytest.raises(HandoverError, match=f"process {os.getpid()} is taking over already"):
            handover.ask(server.folder / "calls")
        second = Server(server.folder, ready=False, options=TAKE_OVER)
        assert second.ended() == 1
        assert f"process {os.getpid()} is taking over already" in second.log
    server.logged(f"keeps serving: process {os.getpid()}, which was going to take over, ended")
    with asking(server):
        pass


def test_one_that_ends_when_all_was_given_to_it(server: Server) -> None:
    before = answering(server)
    with asking(server) as peer:
        peer.say(handover.Commit())
        assert isinstance(heard(peer), handover.Yours)
        wait_for(lambda: not runs(before))
    assert answering(server) != before
    wait_for(lambda: still_held(server))
    assert server.authorize(**GOOD)["accepted"]
    assert (server.folder / "calls" / "serve.lock").read_text().strip() == str(server.process.pid)
    assert server.log.count("ALARM") == 1
    second = Server(server.folder, ready=False)
    assert second.ended() == 1, "the lock is its own as before"


def test_one_that_does_not_want_any_more(server: Server) -> None:
    with asking(server) as peer:
        peer.say(handover.No("of a whim"))
        server.logged(f"keeps serving: process {os.getpid()} does not take over: of a whim")


def test_another_version_of_the_hand_over(server: Server) -> None:
    with asking(server) as peer:
        peer.say(handover.TakeoverRequest(2))
        answer = heard(peer)
        assert isinstance(answer, handover.No)
        assert "version 2 of the hand-over" in answer.why
    with asking(server) as peer:
        os.write(peer.fileno(), b"\xff\xffgarbage")
        server.logged("it speaks another version of the hand-over")
    assert answering(server)


def test_a_server_that_ends_says_so(folder: Path) -> None:
    server = Server(folder)
    with asking(server) as peer:
        assert server.stop() == 0
        assert heard(peer) == handover.No("it was told to end")


_HANGS = """
import signal, sys, time
from pathlib import Path
from identengine.server.supervisor import handover
signal.signal(signal.SIGIO, signal.SIG_IGN)
peer, sockets = handover.ask(Path(sys.argv[1]))
peer.say(handover.Commit())
time.sleep(60)
"""


def test_one_that_hangs_when_all_was_given_to_it_is_killed(server: Server) -> None:
    with subprocess.Popen([sys.executable, "-c", _HANGS, str(server.folder / "calls")]) as hangs:
        with server.udp() as udp:
            server.logged(f"handing over to process {hangs.pid}")
            udp.socket.settimeout(PATIENCE)
            udp.send(request("ping"))  # waits in the kernel meanwhile
            assert udp.receive()["id"] == 1
        assert hangs.wait(PATIENCE) == -signal.SIGKILL
    assert (
        f"keeps serving: process {hangs.pid} gave no sign of life while it took over, and was killed" in server.log
    )
    wait_for(lambda: still_held(server))
