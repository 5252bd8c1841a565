"""The fingerprint of a request, by which a retransmission is recognized (engine.md 5.3)."""

from __future__ import annotations

from typing import Any

import pytest

from identengine.calls.legs import request_fingerprint
from identengine.model.records import Digest, Request

KEY = bytes(32)


@pytest.mark.parametrize("number", [2**64 - 1, 2**64, -(2**63) - 1, 10**4000])
@pytest.mark.parametrize("field", ["account_id", "src_port"])
@pytest.mark.parametrize("more", [{}, {"password": "x"}, {"digest": Digest(username="x")}], ids=repr)
def test_an_integer_of_any_size_has_a_fingerprint(field: str, number: int, more: dict[str, Any]) -> None:
    def fingerprint(value: int) -> bytes:
        return request_fingerprint(Request(call_id="a", dst_number="44", **{field: value} | more), KEY)

    assert fingerprint(number) == fingerprint(number)
    assert fingerprint(number) != fingerprint(number - 1)
    assert len(fingerprint(number)) <= 256
