"""The benchmark of attacks: its messages are as their genes say, and its good peers are answered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address, ip_network
from pathlib import Path
from random import Random

import msgspec
import pytest

from benchmarks import machine
from benchmarks.hostile import packets, server
from benchmarks.hostile.__main__ import compared
from benchmarks.hostile.attacks import attacks
from benchmarks.hostile.costs import CAPS, ENCODINGS
from benchmarks.hostile.inputs import METHODS, TOKEN, Encoding, Genes, build, mutated, random_genes
from benchmarks.hostile.subject import Subject
from benchmarks.hostile.victims import VICTIMS
from benchmarks.results import Column, Results, Row, publish

SMALL = 500


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    with ExitStack() as stack:
        yield Subject(tmp_path_factory.mktemp("subject"), stack)


def random_messages(encoding: Encoding) -> list[bytes]:
    random = Random(5)
    genes = [random_genes(random, encoding) for _ in range(200)]
    genes += [mutated(each, random, encoding, frozenset({"defect"})) for each in genes]
    return [build(each, encoding, CAPS["UDP"], random.choice((None, TOKEN))) for each in genes]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_seed_gives_the_same_messages_and_few_are_too_large(encoding: Encoding) -> None:
    messages = random_messages(encoding)
    assert messages == random_messages(encoding)
    assert sum(len(message) > CAPS["UDP"] for message in messages) < len(messages) / 10


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("method", METHODS)
def test_right_messages_are_decoded(subject: Subject, method: str, encoding: Encoding) -> None:
    """A message without a defect gets a result if it shows its token, and an error that names the token if not."""
    genes = Genes(method, "none", "unknown parameter", "letters", 0)
    for transport in CAPS:
        (shown,), _ = subject.answers(build(genes, encoding, SMALL, TOKEN), transport, shown=True)
        (hidden,), _ = subject.answers(build(genes, encoding, SMALL, None), transport, shown=False)
        if (method, transport) == ("auth", "UDP"):
            assert b"no such method" in shown
        else:
            assert b"result" in shown
            assert b"token" in hidden
    assert subject.faults() == []


def test_a_notification_gets_no_answer(subject: Subject) -> None:
    genes = Genes("identify", "notification", "unknown parameter", "letters", 0)
    for transport in CAPS:
        cost = subject.cost(build(genes, "json", SMALL, TOKEN), transport, shown=True)
        assert cost.answered == 0
        assert cost.sent == pytest.approx(SMALL, abs=60)


def test_a_message_that_is_cut_off_cannot_be_decoded() -> None:
    genes = Genes("identify", "cut off", "gateway", "letters", 0)
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(build(genes, "json", SMALL, None))


@pytest.mark.parametrize("accounting", [True, False])
def test_forged_packets_get_no_reply_and_authentic_ones_get_one(subject: Subject, accounting: bool) -> None:
    def signed(number: int) -> bytes:
        return packets.signed(one.raw, number)

    for one in packets.forged():
        if one.accounting == accounting and "no Message-Authenticator" not in one.name:
            cost = subject.packet_cost(lambda _: one.raw, packets.SECRET, accounting=accounting, most=2)  # noqa: B023
            assert cost.answered == 0, one.name
    for one in packets.authentic():
        if one.accounting == accounting:
            cost = subject.packet_cost(signed, packets.SECRET, accounting=accounting, most=2)
            assert 0 < cost.answered <= packets.LARGEST, one.name
            assert cost.sent <= packets.LARGEST
    assert subject.faults() == []


def test_attacks_have_names_of_their_own_and_known_victims() -> None:
    every = attacks()
    assert len({attack.name for attack in every}) == len(every)
    assert {victim for attack in every for victim in attack.victims} == set(VICTIMS)


def test_all_addresses_are_loopback() -> None:
    for address in (server.HOST, server.GOOD, server.FORGED, server.OWNED, server.UNKNOWN):
        assert ip_address(address) in ip_network("127.0.0.0/8")


def test_good_peers_are_answered_by_the_server_of_the_benchmark(tmp_path: Path) -> None:
    with server.attacked(tmp_path, tied=10) as target:
        for name, ask in VICTIMS.items():
            assert ask(target, 0.1).answered == 1, name


def test_figures_of_an_earlier_run_are_shown_by_row(tmp_path: Path) -> None:
    def results(cost: float, name: str) -> Results:
        rows = [
            Row(name, {"cost": cost}, texts={"token": "no", "input": f"an input of {cost}"}),
            Row("new", {"cost": cost}, texts={"token": "no"}),
        ]
        return Results(
            name="hostile_messages",
            title="A title",
            method="A method.",
            quick=True,
            date="2026-01-01",
            machine=machine.describe(),
            first="kind",
            columns=[Column("cost", "µs", 1)],
            rows=rows[: 1 if name == "ping" else 2],
        )

    publish(results(5.0, "ping"), tmp_path / "hostile_messages.json")
    found = compared(results(3.0, "**ping**"), tmp_path, ["cost"])
    assert [row.figures for row in found.rows] == [{"cost": 3.0, "before_cost": 5.0}, {"cost": 3.0}]
    assert [column.figure for column in found.columns] == ["cost", "before_cost"]
    assert compared(results(3.0, "ping"), None, ["cost"]).rows[0].figures == {"cost": 3.0}
