"""The hand-over message by message: wrong versions, deaths and hangs leave the old server as it was."""

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
    """Ignore SIGIO, which a supervisor blocks. An OtherServer has the kernel send it to this process."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGIO, before)


@contextlib.contextmanager
def asking(server: Server) -> Iterator[OtherServer]:
    """Ask a server to hand over to this process."""
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
    found = wait_for(peer.receive)
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
    server.logged(f"keeps serving: process {os.getpid()} ended before it had taken over")
    with asking(server):
        pass


def test_a_new_server_that_dies_with_the_lock(server: Server) -> None:
    before = answering(server)
    with asking(server) as peer:
        peer.send(handover.Commit())
        assert isinstance(heard(peer), handover.Yours)
        wait_for(lambda: not runs(before))
    assert answering(server) != before
    wait_for(lambda: still_held(server))
    assert server.authorize(**GOOD)["accepted"]
    assert (server.folder / "calls" / "serve.lock").read_text().split()[0] == str(server.process.pid)
    assert server.log.count("ALARM") == 1
    second = Server(server.folder, ready=False)
    assert second.ended() == 1, "the server holds the lock as before"


def test_a_new_server_that_cancels(server: Server) -> None:
    with asking(server) as peer:
        peer.send(handover.No("no reason"))
        server.logged(f"keeps serving: process {os.getpid()} cancelled the take-over: no reason")


def test_another_version_of_the_hand_over(server: Server) -> None:
    with asking(server) as peer:
        peer.send(handover.TakeoverRequest(2))
        answer = heard(peer)
        assert isinstance(answer, handover.No)
        assert "expected version 1 of the hand-over protocol, got 2" in answer.why
    with asking(server) as peer:
        os.write(peer.fileno(), b"\xff\xffgarbage")
        answer = heard(peer)
        assert isinstance(answer, handover.No)
        assert answer.why == "it uses another version of the hand-over protocol"
        server.logged("it uses another version of the hand-over protocol")
    assert answering(server)


def test_a_server_that_stops_cancels_the_hand_over(folder: Path) -> None:
    server = Server(folder)
    with asking(server) as peer:
        assert server.stop() == 0
        assert heard(peer) == handover.No("the server is stopping")


_HANGS = """
import signal, sys, time
from pathlib import Path
from identengine.server.supervisor import handover
signal.signal(signal.SIGIO, signal.SIG_IGN)
peer, sockets = handover.ask(Path(sys.argv[1]))
peer.send(handover.Commit())
time.sleep(60)
"""


def test_a_new_server_that_hangs_with_the_lock_is_killed(server: Server) -> None:
    with subprocess.Popen([sys.executable, "-c", _HANGS, str(server.folder / "calls")]) as hangs:
        with server.udp() as udp:
            server.logged(f"handing over to process {hangs.pid}")
            udp.socket.settimeout(PATIENCE)
            udp.send(request("ping"))  # the request waits in the kernel meanwhile
            assert udp.receive()["id"] == 1
        assert hangs.wait(PATIENCE) == -signal.SIGKILL
    assert (
        f"keeps serving: process {hangs.pid} sent no sign of life during the take-over and was killed"
        in server.log
    )
    wait_for(lambda: still_held(server))
