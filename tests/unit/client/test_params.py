"""Parameters that cannot be encoded as they are never leave the client."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import uuid
from collections.abc import Callable

import pytest

from identengine.client import BlockingClient, Client, ClientError, Digest, EncodingError
from identengine.client.exchange import Encoding, Exchange
from identengine.client.params import Deciding, Listing, Params, check_types

FOREIGN = (
    b"442079460123",
    bytearray(b"4420"),
    memoryview(b"4420"),
    decimal.Decimal(4420),
    datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    uuid.uuid4(),
    object(),
)


@pytest.mark.parametrize("value", FOREIGN, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    ("place", "made"),
    [
        ("dst_number", lambda value: Deciding(dst_number=value)),
        ("token", lambda value: Deciding(token=value)),
        ("digest.nonce", lambda value: Deciding(digest=Digest(nonce=value))),
        (r"calls\[0\]\[1\]", lambda value: Listing(calls=[("call", value)])),
    ],
)
def test_a_value_that_json_cannot_carry_is_a_type_error(
    place: str, made: Callable[[object], Params], value: object
) -> None:
    with pytest.raises(TypeError, match=rf"^{place}: expected .*, got {type(value).__name__}$"):
        check_types(made(value))


def test_values_of_json_are_left_to_the_server() -> None:
    check_types(Deciding(src_port=[5060], account_id=1.5, dst_number={"a": [True, None]}))  # type: ignore[arg-type]
    check_types(Listing(calls=[("call", None), ["call", "leg", "origination"]], confirm_empty=True))  # type: ignore[list-item]


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize(
    "params",
    [
        Deciding(dst_number="44\ud83d"),
        Deciding(token="\udc00"),
        Deciding(digest=Digest(nonce="\ud800")),
        Listing(calls=[("\udfff",)]),
    ],
)
def test_half_a_surrogate_pair_is_an_error_of_the_client(params: Params, encoding: Encoding) -> None:
    exchange = Exchange(encoding)
    with pytest.raises(EncodingError, match="authorize: the request cannot be encoded: "):
        exchange.ask("authorize", params)
    number, _ = exchange.ask("authorize", Deciding())
    assert number == 1, "a request that was not made has no id"
    assert issubclass(EncodingError, ClientError)


def test_an_integer_over_64_bits_is_an_error_of_the_client() -> None:
    with pytest.raises(EncodingError):
        Exchange("msgpack").ask("authorize", Deciding(account_id=1 << 64))


def test_both_forms_refuse_bytes_before_they_connect() -> None:
    with BlockingClient(port=1) as client, pytest.raises(TypeError, match=r"^dst_number: .*, got bytes$"):
        client.authorize(dst_number=b"4420")  # type: ignore[arg-type]

    async def ask() -> None:
        async with Client(port=1) as client:
            await client.authorize(dst_number=b"4420")  # type: ignore[arg-type]

    with pytest.raises(TypeError, match=r"^dst_number: .*, got bytes$"):
        asyncio.run(ask())
