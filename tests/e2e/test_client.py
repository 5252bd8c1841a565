"""The client for Python programs, against a real server: both forms over TCP and TLS, asyncio over UDP too."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, TypedDict, get_type_hints

import pytest
import trustme
from support import HOST
from support.books import ip_account, put_rows
from support.clients import FORMS, Form, client_of
from support.connections import unread
from support.ports import free_port
from support.relay import Relay
from support.server import Server, serving
from support.waiting import wait_for

from identengine import (
    AskError,
    BlockingClient,
    Client,
    ClientError,
    Decision,
    Explanation,
    LateError,
    LegResult,
    LostError,
    Pong,
)
from identengine.client.exchange import Encoding
from identengine.client.params import CallParams, ListParams, TellParams
from identengine.model.records import CallList, CallRequest, Request
from identengine.model.records import Client as Customer

ENCODINGS: list[Encoding] = ["json", "msgpack"]
TOKEN = "the token of closed"
CONFIG = f"""
[listen]
udp = ["{HOST}:0"]
tcp = ["{HOST}:0"]
tls = ["{HOST}:0"]
[tls]
certificate = "server.pem"
key = "server.key"
[calls]
path = "calls"
max_legs = 3000
[[switch]]
name = "open"
addresses = ["{HOST}"]
[[switch]]
name = "closed"
addresses = ["{HOST}"]
token = {{ env = "CLOSED_TOKEN" }}
"""
CA = trustme.CA()


class Caller(TypedDict):
    """The fields of a call."""

    src_ip: str
    dst_number: str


GOOD: Caller = {"src_ip": "10.0.0.1", "dst_number": "44171"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("client")
    put_rows(folder / "store", [ip_account(1, "10.0.0.1")], [Customer(id=1, name="customer")])
    certificate = CA.issue_cert(HOST)
    certificate.cert_chain_pems[0].write_to_path(folder / "server.pem")
    certificate.private_key_pem.write_to_path(folder / "server.key")
    os.environ["CLOSED_TOKEN"] = TOKEN
    try:
        with serving(folder, CONFIG) as running:
            yield running
    finally:
        del os.environ["CLOSED_TOKEN"]


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    return context


def made(server: Server, transport: str, encoding: Encoding, form: Form = "asyncio", **more: Any) -> Client:
    if transport == "udp":
        return Client.udp(HOST, server.ports["udp"], encoding=encoding, **more)
    tls = trusting() if transport == "tls" else None
    options = {"timeout": 20.0} | more
    return client_of(form, HOST, server.ports[transport], encoding=encoding, tls=tls, **options)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(("form", "transport"), [*product(FORMS, ["tcp", "tls"]), ("asyncio", "udp")])
def test_each_method_has_its_result(server: Server, form: Form, transport: str, encoding: Encoding) -> None:
    async def main() -> None:
        async with made(server, transport, encoding, form) as client:
            call = f"{form}-{transport}-{encoding}"
            decision = await client.authorize(call_id=call, **GOOD)
            assert isinstance(decision, Decision)
            assert (decision.accepted, decision.account_id, decision.lease) == (True, 1, 200)
            assert await client.start(call_id=call) == LegResult(True)
            assert await client.update(call_id=call) == LegResult(True)
            assert await client.update(call_id=call, interval=60) == LegResult(True)
            assert await client.stop(call_id=call) == LegResult(True, freed=1)
            rejected = await client.identify(src_ip="10.9.9.9", dst_number="44171")
            assert (rejected.accepted, rejected.reason, rejected.sip_code) == (False, "unknown_source", 403)
            explanation = await client.explain(**GOOD)
            assert isinstance(explanation, Explanation)
            assert [one.account_id for one in explanation.candidates] == [1]
            assert explanation.decision.account_id == 1
            assert not (await client.identify(src_ip="10.9.9.9")).accepted
            assert (await client.sync(list_id=call, calls=[("gone",)])).missing == 1
            assert (await client.switch_up()).ok
            assert (await client.switch_down()).ok
            pong = await client.ping()
            assert isinstance(pong, Pong)
            assert pong.version == 1

    asyncio.run(main())


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("form", FORMS)
def test_what_is_wrong_with_a_request_is_named(server: Server, form: Form, encoding: Encoding) -> None:
    async def main() -> None:
        async with made(server, "tcp", encoding, form) as client:
            with pytest.raises(AskError) as raised:
                await client.authorize(src_ip=5)  # type: ignore[arg-type]
            assert (raised.value.code, raised.value.field, raised.value.value) == (-32602, "src_ip", 5)
            with pytest.raises(TypeError, match="source_ip"):
                await client.authorize(source_ip="10.0.0.1")  # type: ignore[call-arg]
            assert (await client.identify(**GOOD)).accepted  # the connection still works

    asyncio.run(main())


def test_a_thousand_wait_at_once_and_each_gets_its_own(server: Server) -> None:
    async def main() -> None:
        async with made(server, "tcp", "msgpack") as client:
            numbers = [f"44{number:04}" for number in range(1000)]
            asked = [client.identify(src_ip="10.0.0.1", dst_number=number) for number in numbers]
            answers = await asyncio.gather(*asked)
            assert [answer.dst_number for answer in answers] == numbers

    asyncio.run(main())


@pytest.mark.parametrize(("form", "transport"), [*product(FORMS, ["tcp"]), ("asyncio", "udp")])
def test_a_token_says_which_switch_asks(server: Server, form: Form, transport: str) -> None:
    async def main() -> None:
        async with (
            made(server, transport, "json", form, token=TOKEN) as closed,
            made(server, transport, "json", form) as opened,
        ):
            assert (await closed.authorize(call_id="of closed", **GOOD)).accepted
            assert (await opened.stop(call_id="of closed")).unknown
            assert (await closed.stop(call_id="of closed")).freed == 1
            assert (await closed.ping()).version == 1
        async with made(server, transport, "json", form, token="wrong") as wrong:
            for _ in range(2):
                with pytest.raises(AskError, match="token") as raised:
                    await wrong.authorize(**GOOD)
                assert "wrong" not in str(raised.value)

    asyncio.run(main())


@pytest.mark.parametrize("form", FORMS)
def test_a_server_that_is_not_trusted_is_not_asked(server: Server, form: Form) -> None:
    async def main() -> None:
        tls = ssl.create_default_context()
        async with client_of(form, HOST, server.ports["tls"], tls=tls, timeout=20) as client:
            with pytest.raises(LostError) as raised:
                await client.ping()
            assert isinstance(raised.value.__cause__, ssl.SSLCertVerificationError)
            assert not raised.value.sent

    asyncio.run(main())


def test_who_is_cancelled_holds_no_place(server: Server) -> None:
    async def main() -> None:
        async with made(server, "tcp", "json", in_flight=1) as client:
            await client.ping()
            for _ in range(20):
                task = asyncio.create_task(client.identify(**GOOD))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert (await client.identify(**GOOD)).accepted

    asyncio.run(main())


def test_close_waits_for_what_is_under_way(server: Server) -> None:
    async def main() -> None:
        client = made(server, "tcp", "json")
        tasks = [asyncio.create_task(client.identify(**GOOD)) for _ in range(100)]
        await asyncio.sleep(0)
        await client.close()
        assert all(task.done() and task.result().accepted for task in tasks)
        with pytest.raises(LostError, match="closed"):
            await client.ping()

    asyncio.run(main())


async def decided(client: Client, call_id: str) -> Decision:
    """Return the first decision of a server that has loaded its book. A new decider may answer earlier."""
    while (decision := await client.authorize(call_id=call_id, **GOOD)).reason == "not_ready":  # noqa: ASYNC110 - a process sets no event
        await asyncio.sleep(0.01)
    return decision


@pytest.mark.parametrize("form", FORMS)
def test_the_decider_dies_and_the_client_goes_on(server: Server, form: Form) -> None:
    async def main() -> None:
        async with made(server, "tcp", "json", form, retries=10) as client:
            before = (await client.ping()).pid
            os.kill(before, signal.SIGKILL)
            answers = await asyncio.gather(*(decided(client, f"{form}{n}") for n in range(100)))
            assert all(answer.accepted for answer in answers)
            assert (await client.ping()).pid != before
            freed = [(await client.stop(call_id=f"{form}{n}")).freed for n in range(100)]
            assert freed == [1] * 100, "asked twice, a call has one slot"

    asyncio.run(main())


@pytest.mark.parametrize("form", FORMS)
def test_what_was_under_way_when_the_connection_was_lost_fails_and_says_so(server: Server, form: Form) -> None:
    def is_under_way() -> bool:
        return unread(server.ports["tcp"]) > 0

    async def main() -> None:
        async with made(server, "tcp", "json", form) as client:
            pid = (await client.ping()).pid
            os.kill(pid, signal.SIGSTOP)
            asked = asyncio.create_task(client.identify(**GOOD))
            await asyncio.to_thread(wait_for, is_under_way)
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(LostError, match="lost") as raised:
                await asked
            assert raised.value.sent
            assert (await decided(client, f"after the death, {form}")).accepted

    asyncio.run(main())


def test_the_whole_server_dies_and_another_one_starts(tmp_path: Path) -> None:
    put_rows(tmp_path / "store", [ip_account(1, "10.0.0.1")], [Customer(id=1, name="customer")])
    first = Server(tmp_path)
    port = first.ports["tcp"]

    async def main() -> Server:
        async with Client(HOST, port, timeout=20, retries=1) as client:
            with BlockingClient(HOST, port, timeout=20) as blocking:
                assert (await client.identify(**GOOD)).accepted
                assert blocking.identify(**GOOD).accepted
                await asyncio.to_thread(first.kill)
                asked = asyncio.create_task(client.identify(**GOOD))
                await asyncio.sleep(0)
                second = await asyncio.to_thread(
                    Server, tmp_path, f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:{port}"]\n'
                )
                try:
                    early = await asked  # as soon as a server is there, maybe before it has loaded its book
                    assert early.accepted or early.reason == "not_ready"
                    assert (await client.identify(**GOOD)).accepted
                    assert blocking.identify(**GOOD).accepted
                except BaseException:
                    second.kill()
                    raise
                return second

    try:
        second = asyncio.run(main())
    finally:
        if first.process.poll() is None:
            first.kill()
    assert second.stop() == 0


def test_datagrams_that_are_lost_are_sent_again(server: Server) -> None:
    async def main(relay: Relay) -> None:
        async with Client.udp(HOST, relay.port, again=0.05, resends=100) as client:
            assert (await client.authorize(call_id="lost", **GOOD)).accepted
            assert (await client.stop(call_id="lost")).freed == 1
        async with Client.udp(HOST, relay.port, again=0.2, resends=2) as client:
            relay.drop(3)
            with pytest.raises(LateError, match="sent 3 times") as raised:
                await client.ping()
            assert raised.value.sent

    with Relay(server.ports["udp"]) as relay:
        relay.drop(3)
        asyncio.run(main(relay))
    assert len(set(relay.dropped[:3])) == 1, "the same bytes, so that the server knows them for the same"


def test_nobody_listens_at_all() -> None:
    port = free_port()

    async def main() -> None:
        async with Client(HOST, port, timeout=0.2) as client:
            with pytest.raises(LateError, match=r"0\.2 s: no connection to ") as raised:
                await client.ping()
            assert not raised.value.sent
        async with Client.udp(HOST, port, again=0.02, resends=1) as client:
            with pytest.raises(LateError, match=os.strerror(errno.ECONNREFUSED)):
                await client.ping()

    asyncio.run(main())
    with BlockingClient(HOST, port) as client, pytest.raises(LostError, match="no connection to ") as raised:
        client.ping()
    assert not raised.value.sent


def test_a_script_may_ask_where_an_event_loop_runs(server: Server) -> None:
    async def main() -> None:
        async with made(server, "tcp", "json") as client:
            with BlockingClient(HOST, server.ports["tcp"], timeout=20) as script:
                asked = asyncio.create_task(client.identify(**GOOD))
                await asyncio.sleep(0)
                assert script.identify(**GOOD) == script.identify(**GOOD) == await asked

    asyncio.run(main())


def test_a_script_may_ask_after_it_closed(server: Server) -> None:
    with BlockingClient(HOST, server.ports["tcp"], timeout=20) as script:
        for _ in range(2):
            assert script.ping().version == 1
            script.close()


@pytest.mark.parametrize("form", FORMS)
def test_a_client_waits_no_longer_than_it_says(form: Form) -> None:
    async def main(port: int) -> None:
        async with client_of(form, HOST, port, timeout=0.2) as client:
            begun = time.monotonic()
            with pytest.raises(LateError, match=r"no answer to ping within 0\.2 s") as raised:
                await client.ping()
            assert time.monotonic() - begun >= 0.2
            assert raised.value.sent

    with socket.create_server((HOST, 0)) as silent:
        asyncio.run(main(silent.getsockname()[1]))


def test_the_names_of_the_parameters_are_those_of_the_spec() -> None:
    for params, struct in ((CallParams, Request), (TellParams, CallRequest), (ListParams, CallList)):
        assert get_type_hints(params) == get_type_hints(struct)


def test_importing_the_package_costs_nothing() -> None:
    program = "import sys, identengine; assert 'asyncio' not in sys.modules and 'msgspec' not in sys.modules"
    program += "; from identengine import Client; assert not hasattr(identengine, 'nothing')"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert issubclass(AskError, ClientError)
