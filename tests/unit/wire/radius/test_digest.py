from __future__ import annotations

import pytest
from support.radiuspackets import attribute, packet, request

from identengine.identify.credentials import verifies
from identengine.model.records import Digest
from identengine.wire.radius.digest import digest_of, text
from identengine.wire.radius.packet import ACCESS_REQUEST, Attribute, decode, encode, encoded

PASSWORD = "Circle Of Life"
# The example of RFC 2617, section 3.5.
RFC2617 = Digest(
    username="Mufasa",
    realm="testrealm@host.com",
    nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
    uri="/dir/index.html",
    method="GET",
    qop="auth",
    nc="00000001",
    cnonce="0a4f113b",
    response="6629fae49393a05397450978507c4ef1",
)
NAMES = {
    "username": "Digest-Username",
    "realm": "Digest-Realm",
    "nonce": "Digest-Nonce",
    "uri": "Digest-URI",
    "method": "Digest-Method",
    "qop": "Digest-Qop",
    "nc": "Digest-Nonce-Count",
    "cnonce": "Digest-CNonce",
    "response": "Digest-Response",
    "algorithm": "Digest-Algorithm",
}
DRAFT = {
    "realm": 1,
    "nonce": 2,
    "method": 3,
    "uri": 4,
    "qop": 5,
    "algorithm": 6,
    "cnonce": 8,
    "nc": 9,
    "username": 10,
}


def fields(digest: Digest) -> dict[str, str]:
    return {name: value for name in NAMES if (value := getattr(digest, name)) is not None}


def rfc5090(digest: Digest) -> list[Attribute]:
    return [attribute(NAMES[name], value) for name, value in fields(digest).items()]


def inner(digest: Digest) -> list[bytes]:
    """Return the fields of the draft that are inside attributes."""
    return [
        bytes((DRAFT[name], len(value) + 2)) + value.encode()
        for name, value in fields(digest).items()
        if name in DRAFT
    ]


def draft(digest: Digest, *, apart: bool) -> list[Attribute]:
    parts = inner(digest) if apart else [b"".join(inner(digest))]
    response = attribute("Draft-Digest-Response", digest.response)
    return [response, *(attribute("Digest-Attributes", part) for part in parts)]


def read(attributes: list[Attribute]) -> Digest | None:
    return digest_of(decode(encode(ACCESS_REQUEST, 0, bytes(16), encoded(attributes))))


@pytest.mark.parametrize(
    "attributes",
    [rfc5090(RFC2617), draft(RFC2617, apart=True), draft(RFC2617, apart=False)],
    ids=["rfc5090", "draft, apart", "draft, together"],
)
def test_the_example_of_rfc_2617_verifies_in_both_encodings(attributes: list[Attribute]) -> None:
    found = read(attributes)
    assert found == RFC2617
    assert verifies(PASSWORD, None, found, "Mufasa")
    assert not verifies(PASSWORD + "x", None, found, "Mufasa")
    assert read(attributes[::-1]) == RFC2617


def test_the_fields_of_the_draft_may_be_cut_between_attributes() -> None:
    whole = b"".join(inner(RFC2617))
    parts = [attribute("Digest-Attributes", whole[at : at + 7]) for at in range(0, len(whole), 7)]
    assert read([*parts, attribute("Draft-Digest-Response", RFC2617.response)]) == RFC2617


def test_broken_fields_of_the_draft_verify_for_no_account() -> None:
    for broken in (b"\x01", b"\x01\x00", b"\x01\x01", b"\x01\x09x", b"\x01\x03x\x02"):
        attributes = [attribute("Digest-Attributes", broken), attribute("Draft-Digest-Response", "x")]
        assert read(attributes) == Digest(response="x")
        assert not verifies(PASSWORD, None, read(attributes), "Mufasa")


def test_the_first_of_repeated_fields_counts() -> None:
    assert read([attribute("Digest-Realm", "a"), attribute("Digest-Realm", "b")]) == Digest(realm="a")
    other = Digest(realm="other", username="other", response="other")
    assert read([*draft(other, apart=False), *rfc5090(RFC2617)]) == RFC2617


def test_a_request_without_such_attributes_has_no_digest() -> None:
    assert digest_of(packet(("User-Name", "bob"))) is None


def test_text_is_utf_8_or_latin_1() -> None:
    assert text("Größe".encode()) == "Größe"
    assert text("Größe".encode("latin-1")) == "Größe"
    assert request(("User-Name", "Größe"))
