"""The replies that are kept for repeated requests (interfaces.md 5)."""

from __future__ import annotations

from identengine.wire.radius.duplicates import (
    GENERATION,
    GENERATION_SECONDS,
    KEPT_SECONDS,
    OVERHEAD,
    Duplicates,
)


def known(kept: Duplicates[str], key: object) -> bytes | None:
    """Return the reply that is kept for a request, or None if it is new."""
    found = kept.claim(key, "new")
    if isinstance(found, bytes):
        return found
    kept.forget(key)
    return None


def test_a_reply_is_kept_for_thirty_seconds() -> None:
    kept: Duplicates[str] = Duplicates()
    assert known(kept, "a") is None
    kept.keep({"a": b"reply"}, 100.0)
    kept.expire(100.0 + KEPT_SECONDS)
    assert known(kept, "a") == b"reply"
    kept.expire(100.1 + KEPT_SECONDS)
    assert known(kept, "a") is None
    assert (len(kept), kept.size) == (0, 0)


def test_replies_of_one_generation_expire_together() -> None:
    kept: Duplicates[str] = Duplicates()
    kept.keep({"a": b"1"}, 0.0)
    kept.keep({"b": b"2"}, GENERATION_SECONDS / 2)
    kept.keep({"c": b"3"}, GENERATION_SECONDS * 2)
    kept.expire(KEPT_SECONDS + 0.1)
    assert [known(kept, key) for key in "abc"] == [b"1", b"2", b"3"], "the last of the generation decides"
    kept.expire(KEPT_SECONDS + GENERATION_SECONDS)
    assert [known(kept, key) for key in "abc"] == [None, None, b"3"]


def test_a_pause_keeps_no_reply_for_longer() -> None:
    kept: Duplicates[str] = Duplicates()
    for second in range(5):
        kept.keep({second: b"reply"}, second * 2 * GENERATION_SECONDS)
    kept.claim("waits", "pending")
    kept.expire(10 * KEPT_SECONDS)
    assert known(kept, 4) is None
    assert (len(kept), kept.size) == (1, 0)
    assert kept.claim("waits", "second") == "pending", "it has no reply that could expire"


def test_a_request_that_is_being_answered() -> None:
    kept: Duplicates[str] = Duplicates()
    assert kept.claim("a", "first") == "first", "it is new"
    assert kept.claim("a", "second") == "first"
    kept.forget("a")
    assert kept.claim("a", "third") == "third"
    kept.keep({"a": b"reply"}, 0.0)
    assert kept.claim("a", "fourth") == b"reply"
    kept.forget("a")
    assert kept.claim("a", "fifth") == b"reply", "only a request without a reply is forgotten"


def test_no_replies_are_no_generation() -> None:
    kept: Duplicates[str] = Duplicates()
    kept.keep({}, 0.0)
    assert (len(kept), kept.size) == (0, 0)
    kept.keep({"a": b"reply"}, KEPT_SECONDS)
    kept.expire(KEPT_SECONDS + 1)
    assert known(kept, "a") == b"reply"


def test_memory_is_bounded() -> None:
    most = 3 * GENERATION * (OVERHEAD + 100)
    kept: Duplicates[str] = Duplicates(most)
    for number in range(20 * GENERATION):
        kept.keep({number: b"x" * 100}, number / 1e6)
        assert kept.size <= most
    assert known(kept, 20 * GENERATION - 1)
    assert known(kept, 0) is None
    assert len(kept) <= 3 * GENERATION


def test_the_memory_of_a_reply_is_not_underestimated() -> None:
    import tracemalloc

    count = 20_000
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept: Duplicates[str] = Duplicates()
    for number in range(count):
        host, header = f"192.0.2.{number % 200}", number.to_bytes(20, "big")
        kept.keep({(host, 1024 + number, header): number.to_bytes(200, "big")}, 0.0)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < kept.size * 1.15
