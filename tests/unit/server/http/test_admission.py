"""Connections that are admitted, refused, or closed to make room for others."""

from __future__ import annotations

import random

import pytest

from identengine.config.schema import Limits
from identengine.server.http.admission import Admission, Refusal, Slot

ATTACKERS = [f"198.51.100.{number}" for number in range(1, 6)]


class House:
    """An admission whose connections are known by name."""

    def __init__(self, connections: int = 1000, of_address: int = 200, proxies: tuple[str, ...] = ()) -> None:
        self.refused: list[tuple[str, str]] = []
        self.open: set[Slot] = set()
        self.admission = Admission(Limits(connections=connections, connections_per_switch=of_address))
        self.admission.shares = proxies.__contains__
        self.admission.on_refused = lambda host, refusal: self.refused.append((host, refusal.counted))

    def connect(self, host: str) -> Slot:
        slot = self.admission.admit(host, lambda: None)
        assert isinstance(slot, Slot), slot
        slot.close = lambda: self.open.discard(slot)
        self.open.add(slot)
        return slot

    def refusal(self, host: str) -> Refusal:
        refusal = self.admission.admit(host, lambda: None)
        assert isinstance(refusal, Refusal)
        return refusal

    def prove(self, slot: Slot) -> None:
        self.admission.begin(slot, slot.host)
        self.admission.prove(slot)

    def close(self, slot: Slot) -> None:
        self.admission.leave(slot)
        self.open.discard(slot)


@pytest.fixture
def house() -> House:
    return House()


def test_five_addresses_with_many_connections_shut_out_nobody(house: House) -> None:
    """A scraper and a switch connect while five addresses open 200 connections each, again and again."""
    for _ in range(3):
        held = [house.connect(host) for _ in range(200) for host in ATTACKERS]
        scraper, switch = house.connect("192.0.2.1"), house.connect("192.0.2.2")
        for _ in range(1000):
            house.connect(random.choice(ATTACKERS))
        assert {scraper, switch} <= house.open, "they hold fewer than the attackers do"
        house.prove(switch)
        house.close(scraper)
        house.close(switch)
        assert len(house.open) == len(house.admission) <= 500
        for slot in held:
            house.close(slot)


def test_of_an_address_the_connection_that_was_idle_for_longest_is_closed(house: House) -> None:
    slots = [house.connect("192.0.2.1") for _ in range(200)]
    house.admission.begin(slots[0], "192.0.2.1")
    house.admission.begin(slots[1], "192.0.2.1")
    house.admission.rest(slots[1])
    house.connect("192.0.2.1")
    assert slots[2] not in house.open, "the first is being answered, the second was idle for a shorter time"
    for _ in range(199):
        house.connect("192.0.2.1")
    assert slots[0] in house.open
    assert slots[1] not in house.open
    assert house.refused == [("192.0.2.1", "too_many_of_switch")] * 200


def test_busy_connections_without_a_token_make_room_too(house: House) -> None:
    slots = [house.connect("192.0.2.1") for _ in range(200)]
    for slot in slots:
        house.admission.begin(slot, "192.0.2.1")
    house.connect("192.0.2.1")
    assert [slot for slot in slots if slot not in house.open] == slots[:1]


def test_a_share_is_kept_for_proven_connections() -> None:
    house = House(connections=40, of_address=20)
    for number in range(100):
        house.connect(f"192.0.2.{number}")
    assert len(house.open) == 20
    for number in range(20):
        house.prove(house.connect(f"192.0.2.{number}"))
    assert len(house.open) == 39, "each of the last 20 took the room of another, except the first"
    proven = {slot for slot in house.open if slot.proven}
    for number in range(100):
        house.connect(f"198.51.100.{number}")
    assert proven <= house.open
    assert len(house.open) == 40


def test_proven_connections_are_limited_in_total_and_for_each_address() -> None:
    house = House(connections=40, of_address=15)
    for host in ("192.0.2.1", "192.0.2.2"):
        slots = [house.connect(host) for _ in range(15)]
        for slot in slots:
            house.prove(slot)
        assert house.refusal(host).counted == "too_many_of_switch"
        assert set(slots) <= house.open
    for _ in range(10):
        house.prove(house.connect("192.0.2.3"))
    assert house.refusal("192.0.2.4").counted == "too_many"
    house.close(next(iter(house.open)))
    house.connect("192.0.2.4")


def test_an_address_with_proven_and_unproven_connections_keeps_its_limit() -> None:
    house = House(connections=1000, of_address=20)
    for slot in [house.connect("192.0.2.1") for _ in range(15)]:
        house.prove(slot)
    for _ in range(50):
        house.connect("192.0.2.1")
    assert len(house.open) == 20


def test_over_ipv6_a_network_of_64_bits_is_one_client() -> None:
    house = House(connections=1000, of_address=20)
    for number in range(100):
        house.connect(f"2001:db8::1:{number:x}")
    assert len(house.open) == 20
    house.connect("2001:db8:0:1::1")
    assert len(house.open) == 21
    for number in range(100):
        house.connect(f"::ffff:192.0.2.{number}")
    assert len(house.open) == 121, "addresses of IPv4 count on their own"
    slot = house.connect("2001:db8::2")
    house.prove(slot)
    for number in range(100):
        house.connect(f"2001:db8::1:{number:x}")
    assert slot in house.open


def test_behind_a_proxy_the_limit_counts_for_the_client() -> None:
    house = House(connections=1000, of_address=20, proxies=("127.0.0.9",))
    slots = [house.connect("127.0.0.9") for _ in range(100)]
    assert len(house.open) == 100, "a proxy has no limit of its own"
    for slot in slots:
        house.admission.begin(slot, "198.51.100.1")
    assert house.open == set(slots[-20:])
    good = house.connect("127.0.0.9")
    house.admission.begin(good, "192.0.2.1")
    house.admission.prove(good)
    house.admission.rest(good)
    house.admission.begin(good, "192.0.2.1")
    proven = good.proven
    house.admission.begin(good, "198.51.100.1")
    assert (proven, good.proven) == (True, False), "the next request is another client's"
    assert len(house.open) == 20
    house.admission.begin(good, "nonsense")
    assert len(house.admission) == len(house.open)


def test_the_counts_are_right_after_any_series_of_events() -> None:
    chance = random.Random(13)
    house = House(connections=30, of_address=8, proxies=("10.0.0.1",))
    hosts = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::1", "2001:db8::2", "x"]
    for _ in range(5000):
        slot = chance.choice(sorted(house.open, key=id)) if house.open else house.connect("10.0.0.1")
        action = chance.choice(["connect", "connect", "begin", "prove", "rest", "close", "again"])
        if action == "connect":
            made = house.admission.admit(chance.choice(hosts[:-1]), lambda: None)
            if isinstance(made, Slot):
                made.close = lambda made=made: house.open.discard(made)  # type: ignore[misc]
                house.open.add(made)
        elif action == "begin":
            house.admission.begin(slot, chance.choice(hosts))
        elif action == "prove":
            house.prove(slot)
        elif action == "rest":
            house.admission.rest(slot)
        else:
            house.close(slot)
            house.close(slot)
        assert len(house.admission) == len(house.open) <= 30
        assert sum(not one.proven for one in house.open) <= 15
    for slot in list(house.open):
        house.close(slot)
    assert len(house.admission) == 0
    assert not house.admission._crowds
