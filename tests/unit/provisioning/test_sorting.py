"""The order of lists: directions, several columns, and rows without a value."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest

from identengine.model.records import Account, IdentBy
from identengine.provisioning.sorting import Order, address_key, ident_key, ordered, value_key


class Row(NamedTuple):
    key: int
    number: int | None
    text: str


ROWS = (Row(1, 20, "b"), Row(2, None, "A"), Row(3, 100, "B"), Row(4, 20, "a"))
NUMBER = Order(lambda row: value_key(row.number))
TEXT = Order(lambda row: value_key(row.text))


@pytest.mark.parametrize("most", [None, 4, 10])
@pytest.mark.parametrize(
    ("orders", "wanted"),
    [
        ([NUMBER], [1, 4, 3, 2]),
        ([NUMBER._replace(descending=True)], [3, 1, 4, 2]),  # the row without a value stays last
        ([TEXT], [2, 4, 1, 3]),
        ([TEXT, NUMBER], [4, 2, 1, 3]),
        ([TEXT._replace(descending=True), NUMBER._replace(descending=True)], [3, 1, 4, 2]),
        ([NUMBER, TEXT._replace(descending=True)], [1, 4, 3, 2]),
    ],
)
def test_order(orders: list[Order], wanted: list[int], most: int | None) -> None:
    assert [row.key for row in ordered(ROWS, orders, most)] == wanted


def test_the_first_rows_are_those_of_the_whole_order() -> None:
    chance = random.Random(2)
    rows = [Row(key, chance.choice([None, 1, 2, 3]), chance.choice("abcAB")) for key in range(300)]
    for orders in ([NUMBER], [TEXT._replace(descending=True), NUMBER], [NUMBER._replace(descending=True), TEXT]):
        whole = list(ordered(rows, orders))
        assert list(ordered(rows, orders, 40)) == whole[:40]


def test_addresses_sort_as_addresses_before_other_texts() -> None:
    texts = [
        "sbc.example",
        "10.0.0.10",
        "::1",
        "9.0.0.0/8",
        "10.0.0.9",
        "10.0.0.0/8",
        "::ffff:10.0.0.8",
        "10.0.0.0/24",
    ]
    assert sorted(texts, key=lambda text: address_key(text) or ()) == [
        "9.0.0.0/8",
        "10.0.0.0/8",
        "10.0.0.0/24",
        "::ffff:10.0.0.8",
        "10.0.0.9",
        "10.0.0.10",
        "::1",
        "sbc.example",
    ]


def test_idents_sort_by_kind() -> None:
    def account(ident_by: IdentBy, *ident: str) -> Account:
        return Account(id=1, client_id=1, name="x", ident_by=ident_by, ident=ident)

    accounts = [
        account(IdentBy.ANI, "44"),
        account(IdentBy.NAME, "Bolt"),
        account(IdentBy.NAME, "acme"),
        account(IdentBy.IP, "10.0.0.1", "9.0.0.1"),
    ]
    assert [one.ident[0] for one in ordered(accounts, [Order(ident_key)])] == ["10.0.0.1", "acme", "Bolt", "44"]
