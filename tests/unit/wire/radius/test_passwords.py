from __future__ import annotations

from hashlib import md5

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrad.dictionary import Dictionary
from pyrad.packet import AuthPacket
from support.radiuspackets import AUTHENTICATOR, SECRET, packet

from identengine.identify.credentials import chap_verifies, verifies
from identengine.model.records import Chap
from identengine.wire.radius.passwords import LONGEST_PASSWORD, chap_of, hidden, revealed

PASSWORD = "Circle of Life, längst"
CHALLENGE = b"a challenge of the switch"
RESPONSE = md5(b"\x07" + PASSWORD.encode() + CHALLENGE).digest()


@given(st.binary(max_size=LONGEST_PASSWORD), st.binary(min_size=16, max_size=16))
def test_a_password_is_the_same_after_hiding_and_revealing(password: bytes, authenticator: bytes) -> None:
    value = hidden(password, SECRET, authenticator)
    assert len(value) % 16 == 0
    assert 16 <= len(value) <= LONGEST_PASSWORD
    assert revealed(value, SECRET, authenticator) == password.rstrip(b"\0")


@given(st.binary(min_size=1, max_size=LONGEST_PASSWORD))
def test_pyrad_hides_and_reveals_the_same(password: bytes) -> None:
    other = AuthPacket(secret=SECRET.secret, authenticator=AUTHENTICATOR, dict=Dictionary())
    assert other.PwCrypt(password) == hidden(password, SECRET, AUTHENTICATOR)


def test_a_value_of_a_wrong_length_hides_no_password() -> None:
    for size in (0, 1, 15, 17, 130, 144, 253):
        assert revealed(bytes(size), SECRET, AUTHENTICATOR) == b""
    with pytest.raises(ValueError, match="129 bytes"):
        hidden(bytes(129), SECRET, AUTHENTICATOR)


def test_chap_verifies_by_rfc_1994() -> None:
    chap = Chap(7, CHALLENGE, RESPONSE)
    assert verifies(PASSWORD, None, None, "acme", chap)
    assert not verifies(PASSWORD + " ", None, None, "acme", chap)
    assert not verifies(PASSWORD, None, None, "acme", Chap(8, CHALLENGE, RESPONSE))
    assert not verifies(PASSWORD, None, None, "acme", Chap(7, CHALLENGE + b"x", RESPONSE))
    assert not verifies(PASSWORD, None, None, "acme", Chap(7, CHALLENGE, RESPONSE[:-1]))
    assert not verifies(PASSWORD, None, None, "acme", Chap(7, CHALLENGE, b""))


def test_a_password_and_a_chap_response_must_both_verify() -> None:
    chap = Chap(7, CHALLENGE, RESPONSE)
    assert verifies(PASSWORD, PASSWORD, None, None, chap)
    assert not verifies(PASSWORD, "other", None, None, chap)
    assert not verifies(PASSWORD, PASSWORD, None, None, Chap(7, b"", RESPONSE))


def test_the_challenge_is_an_attribute_or_the_authenticator() -> None:
    assert chap_of(packet(("User-Name", "bob"))) is None
    response = b"\x07" + RESPONSE
    assert chap_of(packet(("CHAP-Password", response))) == Chap(7, AUTHENTICATOR, RESPONSE)
    found = chap_of(packet(("CHAP-Challenge", CHALLENGE), ("CHAP-Password", response)))
    assert found == Chap(7, CHALLENGE, RESPONSE)
    assert chap_verifies(PASSWORD, found)


@pytest.mark.parametrize("value", [b"", b"\x07", bytes(16), bytes(18), bytes(253)])
def test_a_chap_password_of_a_wrong_length_verifies_for_no_password(value: bytes) -> None:
    found = chap_of(packet(("CHAP-Password", value)))
    assert found is not None
    assert not chap_verifies(PASSWORD, found)
    assert not chap_verifies("", found)
