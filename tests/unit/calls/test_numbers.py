"""The numbers of a leg: from whole answers, from their ends, and from the fields of a start."""

from __future__ import annotations

import pytest

from identengine.calls.numbers import Numbers, ending, ending_of, has_number, numbers_of, packed
from identengine.identify import template
from identengine.identify.template import MATCHES, AnswerPart, part_of
from identengine.model.records import Decision

ACCOUNT = AnswerPart(*part_of(Decision(accepted=True, account_id=7, rate_table="dst_number")))
VERSION = template.version_part(3, {"lease": 200})


def answer(form: template.Form, src: str | None, dst: str) -> bytes:
    match = MATCHES["ip"][False][False]
    return form(ACCOUNT, VERSION, match, "10.0.0.0/8", dst.encode(), None if src is None else src.encode())


@pytest.mark.parametrize("form", [template.json, template.packed])
@pytest.mark.parametrize("src", [None, "442079460000", "1", "9" * 64, 'a"b\\c'])
@pytest.mark.parametrize("dst", ["442079460123", "5" * 40, "*98#", '"'])
def test_an_answer_and_its_end_have_the_numbers(form: template.Form, src: str | None, dst: str) -> None:
    whole = answer(form, src, dst)
    assert numbers_of(whole) == numbers_of(ending(whole)) == Numbers(src, dst)
    assert len(ending(whole)) < len(whole) / 2 or len(dst) + len(src or "") > 40


def test_a_decision_that_is_encoded_whole_has_them_last() -> None:
    decision = Decision(accepted=True, src_number="441", dst_number="442", rate_table="retail", lease=200)
    assert numbers_of(ending(packed(decision))) == Numbers("441", "442")


@pytest.mark.parametrize(("src", "dst"), [("441", "442"), (None, "442"), ("441", None), (None, None), ("", "")])
def test_numbers_of_a_call_without_an_answer(src: str | None, dst: str | None) -> None:
    assert numbers_of(ending_of(src, dst)) == Numbers(src or None, dst or None)


@pytest.mark.parametrize("other", [None, b"", b"}", b"dst_number", b"dst_number\xff", b'dst_number":3}', b"\x80"])
def test_other_bytes_have_no_numbers(other: bytes | None) -> None:
    assert numbers_of(other) == Numbers(None, None)
    assert not has_number(other, "44")


@pytest.mark.parametrize("form", [template.json, template.packed])
def test_a_number_is_found_whole_or_by_its_end(form: template.Form) -> None:
    held = answer(form, "442079460000", "99#442079460123")
    for number in ("442079460000", "442079460123", "99#442079460123", "0123"):
        assert has_number(held, number)
    for number in ("44207946", "4420794600001", "199#442079460123", "x", "dst_number", "200"):
        assert not has_number(held, number)
