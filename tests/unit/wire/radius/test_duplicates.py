"""The replies that are kept for repeated requests (interfaces.md 5)."""

from __future__ import annotations

from identengine.wire.radius.duplicates import (
    GENERATION,
    GENERATION_SECONDS,
    KEPT_SECONDS,
    OVERHEAD,
    PENDING,
    Duplicates,
)


def test_a_reply_is_kept_for_thirty_seconds() -> None:
    kept = Duplicates()
    assert kept.find("a") is None
    kept.finish("a", b"reply", 100.0)
    kept.expire(100.0 + KEPT_SECONDS)
    assert kept.find("a") == b"reply"
    kept.expire(100.1 + KEPT_SECONDS)
    assert kept.find("a") is None
    assert (len(kept), kept.size) == (0, 0)


def test_replies_of_one_generation_expire_together() -> None:
    kept = Duplicates()
    kept.finish("a", b"1", 0.0)
    kept.finish("b", b"2", GENERATION_SECONDS / 2)
    kept.finish("c", b"3", GENERATION_SECONDS * 2)
    kept.expire(KEPT_SECONDS + 0.1)
    assert [kept.find(key) for key in "abc"] == [b"1", b"2", b"3"], "the last of the generation decides"
    kept.expire(KEPT_SECONDS + GENERATION_SECONDS)
    assert [kept.find(key) for key in "abc"] == [None, None, b"3"]


def test_a_request_that_is_being_answered() -> None:
    kept = Duplicates()
    kept.begin("a")
    assert kept.find("a") == PENDING
    kept.forget("a")
    assert kept.find("a") is None
    kept.begin("a")
    kept.finish("a", b"reply", 0.0)
    kept.forget("a")
    assert kept.find("a") == b"reply", "only a request without a reply is forgotten"


def test_the_first_reply_stays() -> None:
    kept = Duplicates()
    kept.finish("a", b"first", 0.0)
    kept.finish("a", b"second", 1.0)
    assert kept.find("a") == b"first"
    assert kept.size == len(b"first") + OVERHEAD


def test_memory_is_bounded() -> None:
    most = 3 * GENERATION * (OVERHEAD + 100)
    kept = Duplicates(most)
    for number in range(20 * GENERATION):
        kept.finish(number, b"x" * 100, number / 1e6)
        assert kept.size <= most
    assert kept.find(20 * GENERATION - 1)
    assert kept.find(0) is None
    assert len(kept) <= 3 * GENERATION


def test_the_memory_of_a_reply_is_not_underestimated() -> None:
    import tracemalloc

    count = 20_000
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = Duplicates()
    for number in range(count):
        host, header = f"192.0.2.{number % 200}", number.to_bytes(20, "big")
        kept.finish((host, 1024 + number, header), number.to_bytes(200, "big"), 0.0)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < kept.size * 1.15
