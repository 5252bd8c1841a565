"""pyrad against a real server: another implementation reads the replies, and proves them by the secret."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from e2e.radius.carrier import PASSWORD, count, grows
from pyrad import packet
from support import HOST, pyradclient
from support.operator import held
from support.radclient import SECRET
from support.server import Server

PAIRS = {"xpgk-src-number-out=4420", "xpgk-dst-number-out=44123", "account=1", "client=1", "tag=gold"}


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with pyradclient.client(server.ports["radius_auth"], server.ports["radius_acct"], SECRET) as made:
        yield made


def access(client: Any, call: str, **fields: Any) -> Any:
    """Return an Access-Request for a call of the account ``trunk``."""
    return client.CreateAuthPacket(
        h323_remote_address="10.0.0.1", Calling_Station_Id="4420", Called_Station_Id="44123",
        Acct_Session_Id=call, **fields,
    )  # fmt: skip


def report(client: Any, status: int, call: str, **fields: Any) -> Any:
    return client.CreateAcctPacket(Acct_Status_Type=status, Acct_Session_Id=call, **fields)


def test_the_life_of_a_call(server: Server, client: Any) -> None:
    before = held(server)
    accepted = client.SendPacket(access(client, "pyrad"))
    assert accepted.code == packet.AccessAccept
    assert set(accepted["Cisco-AVPair"]) == PAIRS
    assert accepted["h323-return-code"] == ["0"]
    assert accepted["Class"] == [b"account=1;client=1;version=1"]
    assert held(server) == before + 1
    for status, holds in ((1, 1), (3, 1), (2, 0)):
        assert client.SendPacket(report(client, status, "pyrad")).code == packet.AccountingResponse
        assert held(server) == before + holds


def test_a_reject(client: Any) -> None:
    rejected = client.SendPacket(client.CreateAuthPacket(h323_remote_address="10.9.9.9"))
    assert (rejected.code, rejected["Reply-Message"]) == (packet.AccessReject, ["unknown_source"])


@pytest.mark.parametrize(("password", "code"), [(PASSWORD, packet.AccessAccept), ("Guess", packet.AccessReject)])
def test_passwords(client: Any, password: str, code: int) -> None:
    asked = client.CreateAuthPacket(User_Name="alice", Called_Station_Id="44123")
    asked["User-Password"] = asked.PwCrypt(password)
    assert client.SendPacket(asked).code == code


def test_status_server(client: Any) -> None:
    assert client.SendPacket(client.CreateAuthPacket(code=packet.StatusServer)).code == packet.AccessAccept


@pytest.mark.parametrize("kind", ["auth", "acct"])
def test_the_same_bytes_get_the_same_reply(server: Server, client: Any, kind: str) -> None:
    asked = access(client, "repeated") if kind == "auth" else report(client, 2, "repeated")
    sent, before = asked.RequestPacket(), count(server, "radius_duplicates")
    accepted, retransmissions = count(server, "accepted"), count(server, "retransmissions")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer, socket.socket(type=socket.SOCK_DGRAM) as other:
        replies = []
        for one in (peer, peer, peer, other):
            one.settimeout(10)
            one.sendto(sent, (HOST, server.ports[f"radius_{kind}"]))
            replies.append(one.recv(5000))
        assert len(set(replies)) == 1
        assert asked.VerifyReply(asked.CreateReply(packet=replies[0]), replies[0], enforce_ma=True)
    grows(server, "radius_duplicates", before, 2)
    if kind == "auth":
        grows(server, "accepted", accepted, 2)
        grows(server, "retransmissions", retransmissions, 1)
