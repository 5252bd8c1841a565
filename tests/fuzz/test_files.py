"""The mirror of the calls and the file of counters after damage of the disk.

Invariant: a damaged file is read, or renamed and reported. At most one process dies of a damaged mirror: the next
one opens it, admits calls and frees them. Damage that shows later is an error of LMDB and nothing else.
"""

from __future__ import annotations

import faulthandler
import os
import shutil
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import lmdb
import pytest
from fuzz.mutation import mutated
from fuzz.rounds import Case, Rounds, rounds
from fuzz.subject import PLAIN, Subject, session, subject

from identengine.calls import journalfile
from identengine.errors import StoreError
from identengine.stats import file as counters
from identengine.stats.file import CounterFile, Tables
from identengine.stats.heavyhitters import HeavyHitters
from identengine.stats.malformed import MalformedCounts
from identengine.stats.registry import REGISTRY
from identengine.stats.tally import Tally
from identengine.wire.jsonrpc.codec import JSON

PAGE = 4096
LEGS = 200
PROCESSES = 2
"""Number of processes that may be needed until one serves: the first may die."""
UNWRITABLE = 3
"""Exit status of a process that met the damage when it wrote to the mirror, and reported an error of LMDB."""


@pytest.fixture(scope="module")
def kept() -> Iterator[Path]:
    """A folder with the mirror and the counters of a decider that was killed."""
    with TemporaryDirectory(prefix="fuzz") as folder:
        assert in_a_child(partial(use, Path(folder), LEGS)) == 0
        yield Path(folder)


@rounds(40)
def test_a_damaged_mirror(cases: Rounds, kept: Path) -> None:
    for case in cases:
        with case, TemporaryDirectory(prefix="fuzz") as name:
            folder = Path(name)
            shutil.copy(kept / journalfile.NAME, folder)
            case.input = damage(case, folder / journalfile.NAME)
            ends: list[int] = []
            while not ends or ends[-1] < 0:
                ends.append(in_a_child(partial(use, folder, 5)))
                assert len(ends) <= PROCESSES, ends
            assert ends[-1] in (0, UNWRITABLE), ends


@rounds(300)
def test_damaged_counters(cases: Rounds, kept: Path) -> None:
    for case in cases:
        with case, TemporaryDirectory(prefix="fuzz") as name:
            folder = Path(name)
            shutil.copy(kept / counters.FILE, folder)
            case.input = damage(case, folder / counters.FILE)
            read_by_anybody(folder)
            counters.bump(folder, case.choice(REGISTRY).name)
            warnings: list[str] = []
            with CounterFile(folder, warnings.append) as opened:
                tally = Tally(opened.cells, HeavyHitters(100, opened.tables().addresses))
                tally.addresses.add("192.0.2.1")
                opened.write_tables(
                    Tables(tally.addresses.counts(), MalformedCounts(opened.tables().malformed).counts())
                )
                tally.__dict__.clear()  # it holds the mapped file
            read_by_anybody(folder)
            assert len(warnings) <= 1


def read_by_anybody(folder: Path) -> None:
    """Read the counters as a command does."""
    try:
        counters.read(folder)
    except StoreError:
        return


def damage(case: Case, path: Path) -> str:
    """Damage a file as a broken disk or a stray program does. Return a description."""
    content = bytearray(path.read_bytes())
    end = len(content)
    used = max((at for at in range(0, end, PAGE) if any(content[at : at + PAGE])), default=0) + PAGE
    kind = case.choice(("bit", "bits", "bytes", "zeros", "page", "swap", "cut", "longer", "text"))
    at = case.randrange(min(used, end))
    page = at // PAGE * PAGE
    other = case.randrange(0, used, PAGE)
    match kind:
        case "bit":
            content[at] ^= 1 << case.randrange(8)
        case "bits":
            for _ in range(20):
                content[case.randrange(min(used, end))] ^= 1 << case.randrange(8)
        case "bytes":
            content[at : at + 16] = case.randbytes(16)
        case "zeros":
            content[at : at + 512] = bytes(512)
        case "page":
            content[page : page + PAGE] = case.randbytes(PAGE)
        case "swap":
            content[page : page + PAGE], content[other : other + PAGE] = (
                content[other : other + PAGE],
                content[page : page + PAGE],
            )
        case "cut":
            del content[case.choice((0, 1, at, page, end - 1)) :]
        case "longer":
            content += case.randbytes(case.choice((1, PAGE)))
        case "text":
            content[page : page + 200] = mutated(case, bytes(content[page : page + 200]))
    path.write_bytes(content)
    return f"{kind} at {at} of {used}, other page {other}"


def in_a_child(work: Callable[[], None]) -> int:
    """Run ``work`` in a process of its own. Return its exit status, or the negative number of a signal."""
    pid = os.fork()
    if pid == 0:
        status = 1
        faulthandler.disable()  # the death of this process is no fault of the test
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def use(folder: Path, legs: int) -> None:
    """Serve as a decider does with the files of a folder, and end as if killed."""
    alarms: list[str] = []
    with subject(folder, alarms.append) as asked:
        try:
            serve(asked, legs)
        except (AssertionError, lmdb.Error) as error:
            if not any(isinstance(fault, lmdb.Error) for fault in (error, *asked.engine.faults)):
                raise
            os._exit(UNWRITABLE)
        os._exit(0)


def serve(asked: Subject, legs: int) -> None:
    """Authorize, start and stop calls."""
    for number in range(legs):
        call_id = f"new {number} of {legs}"
        assert ask(asked, "authorize", call_id=call_id, src_ip="10.0.0.1", dst_number="4")
        if number % 2:
            assert ask(asked, "start", call_id=call_id)
        if not number % 5:
            assert ask(asked, "stop", call_id=call_id)
    assert ask(asked, "sync", list_id="a", part=1, parts=2, calls=[["x"]])
    asked.work()
    asked.sound()


def ask(asked: Subject, method: str, **params: object) -> bool:
    """Return True if a message is answered, and not with an error."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answers, _ = asked.responder.stream(JSON, [JSON.encode(message)], session(PLAIN))
    return b'"error"' not in b"".join(answers)
