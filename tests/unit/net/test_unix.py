"""The processes at the two ends of a Unix socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from support.otheruser import OTHER_UID, needs_other_user

from identengine.net.unix import PeerProcess, UntrustedPeerError, at_folder, bind_unix, peer_of


def test_both_ends_know_the_process_of_the_other(tmp_path: Path) -> None:
    with bind_unix(tmp_path, "s") as listening, socket.socket(socket.AF_UNIX) as asking:
        with at_folder(tmp_path, "s") as name:
            asking.connect(name)
        answering, _ = listening.accept()
        with answering:
            assert peer_of(asking) == peer_of(answering) == PeerProcess(os.getpid(), os.geteuid())


def test_root_and_the_own_user_may_ask_and_serve(tmp_path: Path) -> None:
    for uid in (0, os.geteuid()):
        peer = PeerProcess(1, uid)
        assert peer.may_ask
        peer.require_server(tmp_path)


def test_another_user_may_do_neither(tmp_path: Path) -> None:
    peer = PeerProcess(1, OTHER_UID)
    assert not peer.may_ask
    with pytest.raises(UntrustedPeerError, match="the process that answers there runs as the user"):
        peer.require_server(tmp_path)


def test_the_owner_of_a_folder_may_serve_in_it_unless_it_could_have_been_replaced(tmp_path: Path) -> None:
    needs_other_user()
    folder = tmp_path / "outer" / "calls"
    folder.mkdir(parents=True, mode=0o700)
    os.chown(folder, OTHER_UID, -1)
    peer = PeerProcess(1, OTHER_UID)
    peer.require_server(folder)
    assert not peer.may_ask
    folder.parent.chmod(0o777)
    with pytest.raises(UntrustedPeerError, match=r"may have replaced the folder: .*outer is writable"):
        peer.require_server(folder)
