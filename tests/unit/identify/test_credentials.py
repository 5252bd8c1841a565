from __future__ import annotations

import msgspec
import pytest

from identengine.identify.credentials import verifies
from identengine.model.records import Digest

# The figures of the example in RFC 7616, section 3.9.1.
PASSWORD = "Circle of Life"
NAME = "Mufasa"
MD5 = Digest(
    username=NAME,
    realm="http-auth@example.org",
    nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    uri="/dir/index.html",
    method="GET",
    qop="auth",
    nc="00000001",
    cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    response="8ca523f5e9506fed4657c9700eebdbec",
    algorithm="MD5",
)
SHA256 = msgspec.structs.replace(
    MD5,
    algorithm="SHA-256",
    response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
)
# The example of RFC 2617, section 3.5, computed without qop as in RFC 2069.
NO_QOP = Digest(
    username=NAME,
    realm="testrealm@host.com",
    nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
    uri="/dir/index.html",
    method="GET",
    response="670fd8c2df070c60b045671b8b24ff02",
)


@pytest.mark.parametrize("digest", [MD5, SHA256], ids=["MD5", "SHA-256"])
def test_the_examples_of_rfc_7616_verify(digest: Digest) -> None:
    assert verifies(PASSWORD, None, digest, NAME)
    assert not verifies(PASSWORD + " ", None, digest, NAME)


def test_no_qop_verifies() -> None:
    assert verifies("Circle Of Life", None, NO_QOP, NAME)


def test_md5_is_the_default_algorithm() -> None:
    assert verifies(PASSWORD, None, msgspec.structs.replace(MD5, algorithm=None), NAME)
    assert verifies(PASSWORD, None, msgspec.structs.replace(MD5, algorithm="md5"), NAME)


@pytest.mark.parametrize("field", ["username", "realm", "nonce", "uri", "method", "nc", "cnonce", "response"])
def test_a_missing_field_does_not_verify(field: str) -> None:
    assert not verifies(PASSWORD, None, msgspec.structs.replace(MD5, **{field: None}), NAME)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("algorithm", "MD5-sess"),
        ("algorithm", "SHA-512-256"),
        ("qop", "auth-int"),
        ("uri", "/dir/index.htm"),
        ("nc", "00000002"),
        ("response", ""),
        ("response", "é"),
    ],
)
def test_all_else_does_not_verify(field: str, value: str) -> None:
    assert not verifies(PASSWORD, None, msgspec.structs.replace(MD5, **{field: value}), NAME)


def test_a_digest_of_another_name_verifies_for_nobody() -> None:
    assert not verifies(PASSWORD, None, MD5, "Simba")


def test_password_and_digest_brought_must_both_verify() -> None:
    assert verifies(PASSWORD, PASSWORD, MD5, NAME)
    assert not verifies(PASSWORD, "other", MD5, NAME)
    assert not verifies(PASSWORD, PASSWORD, msgspec.structs.replace(MD5, nonce="x"), NAME)


@pytest.mark.parametrize("given", ["", " secret", "secret ", "Secret", "sécret", "\ud800"])
def test_a_password_is_compared_whole_and_untrimmed(given: str) -> None:
    assert not verifies("secret", given, None, None)


def test_a_password_may_hold_any_character() -> None:
    assert verifies("pässwörd ☎", "pässwörd ☎", None, None)
