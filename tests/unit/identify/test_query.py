"""Requests in normal form: a blank field is absent (engine.md 2.3), also a field of a digest."""

from __future__ import annotations

import msgspec
import pytest
from unit.identify.test_credentials import MD5, NAME, NO_QOP, PASSWORD

from identengine.identify import query
from identengine.identify.builder import build
from identengine.identify.credentials import verifies
from identengine.identify.query import Query
from identengine.model.options import IdentifyOptions
from identengine.model.records import Digest, Request

BOOK = build(IdentifyOptions(), 1, bytes(32), [], [], [])
BLANKS = ["", " ", "\t\r\n", "\N{NO-BREAK SPACE}"]
FIELDS = Digest.__struct_fields__


def read(digest: Digest, name: str | None = None) -> Query:
    asked = query.read(Request(name=name, digest=digest), BOOK)
    assert isinstance(asked, Query)
    return asked


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("field", FIELDS)
def test_a_blank_field_of_a_digest_is_absent(field: str, blank: str) -> None:
    with_blank, without = (msgspec.structs.replace(MD5, **{field: value}) for value in (blank, None))
    assert read(with_blank) == read(without)
    assert read(with_blank).digest == without


@pytest.mark.parametrize("blank", BLANKS)
def test_a_digest_of_blank_fields_is_absent(blank: str) -> None:
    asked = read(Digest(**dict.fromkeys(FIELDS, blank)))
    assert (asked.digest, asked.brings_credentials) == (None, False)


def test_other_fields_of_a_digest_keep_their_blanks() -> None:
    digest = msgspec.structs.replace(MD5, realm=" a realm ", username=f" {NAME} ")
    assert (read(digest).digest, read(digest).name) == (digest, NAME)


@pytest.mark.parametrize("field", FIELDS)
def test_quotes_around_a_field_of_a_digest_are_removed(field: str) -> None:
    quoted = msgspec.structs.replace(MD5, **{field: f' "{getattr(MD5, field) or "MD5"}" '})
    assert verifies(PASSWORD, None, read(quoted).digest, read(quoted).name)
    assert read(msgspec.structs.replace(MD5, **{field: '" "'})) == read(
        msgspec.structs.replace(MD5, **{field: None})
    )


@pytest.mark.parametrize("digest", [MD5, NO_QOP])
def test_the_case_of_a_response_does_not_matter(digest: Digest) -> None:
    asked = read(msgspec.structs.replace(digest, response=(digest.response or "").upper()))
    assert verifies(PASSWORD if digest is MD5 else "Circle Of Life", None, asked.digest, asked.name)


@pytest.mark.parametrize(
    ("sent", "usable"),
    [
        ("[2001:db8::5]", True),
        (" [::ffff:192.0.2.1] ", True),
        ("[2001:db8::5]:5060", False),
        ("[192.0.2.1]", False),
    ],
)
def test_brackets_around_an_address(sent: str, usable: bool) -> None:
    asked = query.read(Request(src_ip=sent), BOOK)
    assert isinstance(asked, Query) is usable


@pytest.mark.parametrize("digest", [MD5, NO_QOP])
def test_a_blank_algorithm_is_md5(digest: Digest) -> None:
    asked = read(msgspec.structs.replace(digest, algorithm=" "))
    password = PASSWORD if digest is MD5 else "Circle Of Life"
    assert verifies(password, None, asked.digest, asked.name)


@pytest.mark.parametrize("name", [None, "", " "])
def test_the_user_name_of_a_digest_replaces_an_absent_name(name: str | None) -> None:
    assert read(MD5, name).name == NAME
