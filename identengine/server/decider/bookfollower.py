"""Takes up new versions of the book while the server decides (engine.md 8.2).

The store's file (and the key file) is watched by its time, size and inode. When it changed, a reader process
(:mod:`identengine.server.decider.bookstream`) sends the newest version; the new book is built beside the one in
use in steps of about a millisecond, between which requests are decided, and replaces it by one assignment.
Whatever goes wrong before that leaves the book in use: one alarm says what happened and what to do, and it is
tried again when the file changes, and every now and then.

The collector must not walk over millions of objects that live for ever: after each step everything alive is put
out of its sight (``gc.freeze``, a constant cost). Nothing in a book is part of a cycle, so a book that is replaced
goes by its reference counts, in steps too.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path
from typing import TypeAlias

import msgspec

from identengine.config.schema import StoreConfig
from identengine.engine.core import Engine
from identengine.errors import IdentengineError, KeyFileError, StoreError, WireError
from identengine.identify.builder import BookBuilder
from identengine.identify.dismantle import dismantled
from identengine.identify.index import Book
from identengine.log.events import (
    BOOK_ALARM_OVER,
    BOOK_IN_USE,
    BOOK_KEY_MISSING,
    BOOK_UNUSABLE,
    KEY_FILE_LOST,
    Event,
)
from identengine.model.options import IdentifyOptions
from identengine.server.decider import bookstream
from identengine.server.decider.bookreader import chunks, ended, start_reader
from identengine.server.decider.bookstream import Accounts, Clients, Dids, End, Header
from identengine.store.file import data_file
from identengine.store.vault import default_key_file, key_id

WATCH_SECONDS = 0.05
STEP_SECONDS = 0.001
LONGEST_STEP_SECONDS = 0.005
"""Under load a step takes half as long as what was decided since the last one, up to this: else it never ends."""
RETRY_SECONDS = 0.5, 30.0
"""The first pause before what failed is tried again, though nothing changed; it doubles up to the last."""
_LOOK = 16
"""Rows between two looks at the clock."""

_Signature: TypeAlias = tuple[int, ...] | None


class Origin(msgspec.Struct):
    """What a book was made of."""

    header: Header
    options: IdentifyOptions
    file: _Signature
    """The store's file when the making began."""
    keys: set[str]
    """Ids of the keys under which its passwords are encrypted."""


class BookFollower:
    """Follows one store. ``options`` are those that the next book is made with."""

    def __init__(self, engine: Engine, store: StoreConfig, options: IdentifyOptions) -> None:
        self.longest_step = 0.0
        """Longest time, in seconds, that the last take-up kept requests waiting."""
        self.loads = 0
        """Versions that were taken up."""
        self.taken_up = self.load_seconds = self.load_pause = 0.0
        """Of the last one: when that was (Unix time), how long it took, how long requests waited; in seconds."""
        self.tried = asyncio.Event()
        """Set when the first try is over, whether there was a book or not."""
        self._engine = engine
        self._store = store
        self._key_file = store.key_file or default_key_file(store.path)
        self._options = options
        self._apply: Callable[[], None] | None = None
        self._seen: tuple[_Signature, _Signature] = None, None
        self._pause = RETRY_SECONDS[0]
        self._alarm: str | None = None
        self._unusable = False
        self._next_try = 0.0
        self._step_began = 0.0
        self._step_seconds = STEP_SECONDS
        self._in_use: Origin | None = None
        self._making: Origin | None = None
        """Of the book in the making; left as it is when that is done or was given up."""
        self._keyless: str | None = None
        """The alarm where the book in use has passwords that the key at hand does not open."""
        self._hung: subprocess.Popen[bytes] | None = None
        """A reader that could not even be killed."""

    def use_options(self, options: IdentifyOptions, apply: Callable[[], None]) -> None:
        """Make a book with other options; ``apply`` is called in the moment in which it replaces the old one."""
        self._options, self._apply = options, apply
        self._next_try = 0.0

    async def follow(self) -> None:
        """Take up what there is, and each new version, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            seen = self._look()
            waiting = self._alarm is not None or self._apply is not None or not self.tried.is_set()
            if seen != self._seen or (waiting and loop.time() >= self._next_try):
                self._pause = RETRY_SECONDS[0] if seen != self._seen else min(2 * self._pause, RETRY_SECONDS[1])
                key_changed, self._seen = seen[1] != self._seen[1], seen
                options = self._options
                await self._try()
                if key_changed:
                    self._look_at_key()
                if options == self._options:  # else SIGHUP came meanwhile, and there is no reason to wait
                    self._next_try = loop.time() + self._pause
                self.tried.set()
            await asyncio.sleep(WATCH_SECONDS)

    async def _try(self) -> None:
        began = time.perf_counter()
        try:
            old, options = self._engine.book, self._options
            book = await self._read()
            origin = self._making
            if book is None or origin is None:
                if self._keyless is None:
                    self._end_alarm()
                else:
                    self._raise_alarm(BOOK_KEY_MISSING, self._keyless)
                return
            # SIGHUP came while it was made: what was built does not go with the options any more.
            if not options == origin.options == self._options:
                await self._dismantle(book)
                return
            self._swap(book, origin)
            if old is not None:
                await self._dismantle(old)
            self.load_seconds, self.load_pause = time.perf_counter() - began, self.longest_step
            BOOK_IN_USE.tell(
                version=book.version,
                accounts=len(book.accounts),
                dids=len(book.dids),
                seconds=round(self.load_seconds, 3),
                pause_ms=round(self.load_pause * 1000, 3),
            )
        except IdentengineError as error:
            self._raise_alarm(BOOK_UNUSABLE, str(error))
        except (msgspec.MsgspecError, OSError) as error:
            self._raise_alarm(BOOK_UNUSABLE, f"the book cannot be read from {self._store.path}: {error}")
        except Exception as error:  # damage that made something else of a row, or a fault of ours: we go on
            what = f"{type(error).__name__}: {error}"
            why = f"the book in {self._store.path} cannot be used ({what})"
            self._raise_alarm(BOOK_UNUSABLE, f"{why}; import it again, or put a copy in its place", error)

    def _swap(self, book: Book, origin: Origin) -> None:
        """Put the new book, its passwords' key and what goes with it in use: all in one step."""
        problem = self._find_key(origin.keys)
        self._engine.take_up(book)
        self._in_use = origin
        self.loads += 1
        self.taken_up = time.time()
        if self._apply is not None:
            self._apply()
            self._apply = None
        if problem is None:
            self._keyless = None
            self._end_alarm()
        else:
            self._keyless = problem
            self._raise_alarm(BOOK_KEY_MISSING, problem)

    def _find_key(self, keys: set[str]) -> str | None:
        """Give the engine the keys of the new book's passwords; return what is wrong if one is not there."""
        if not keys:
            return None
        vault, problem = None, "the passwords of the book were encrypted under a key that is not at hand"
        try:
            vault = self._store.vault()
        except KeyFileError as error:
            problem = str(error)
        settings = self._engine.settings
        known = settings.vault
        if vault is not None and known is not None and not keys <= set(vault.key_ids):
            vault = vault.joined(known)  # the keys in memory serve on where the file is another
        vault = vault or known
        if vault is None:
            return problem
        self._engine.settings = msgspec.structs.replace(settings, vault=vault)
        missing = keys - set(vault.key_ids)
        return f"{problem} ({', '.join(sorted(missing))})" if missing else None

    def _look_at_key(self) -> None:
        """Say it when the key file is of no use any more: the next start would find that out too late."""
        if self._in_use is not None and self._in_use.keys and self._keyless is None:
            try:
                self._store.vault()
            except KeyFileError as error:
                KEY_FILE_LOST.tell(why=str(error))

    def _look(self) -> tuple[_Signature, _Signature]:
        """Return what tells the state of the store's file, and of the key file, from another; None: not there."""
        return _signature(data_file(self._store.path)), _signature(self._key_file)

    @property
    def made(self) -> float:
        """When the version in use was made, in Unix seconds; 0 where there is none."""
        return self._in_use.header.at if self._in_use is not None else 0.0

    @property
    def alarm(self) -> str | None:
        """What is wrong with the newest book, as long as it is."""
        return self._alarm

    @property
    def unusable(self) -> bool:
        """Whether the newest book cannot be had; where its key alone is missing, most calls are decided."""
        return self._unusable

    def _end_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm, self._unusable = None, False
            BOOK_ALARM_OVER.tell()

    def _raise_alarm(self, alarm: Event, why: str, fault: Exception | None = None) -> None:
        """Say once what is wrong; of a fault of ours, also where."""
        book = self._engine.book
        serving = f"version {book.version} goes on serving" if book else "calls are rejected as not_ready"
        text = alarm.said(why=why, serving=serving)
        if text != self._alarm:
            self._alarm, self._unusable = text, alarm is BOOK_UNUSABLE
            alarm.tell(fault, why=why, serving=serving)

    async def _read(self) -> Book | None:
        """Return the newest version; None where it is in use already, or there is none yet."""
        self.longest_step = 0.0
        if self._seen[0] is None:
            raise StoreError(
                f"there is no store at {self._store.path}; `identengine import BOOK --store {self._store.path}` "
                "makes one, or put the copy of one there"
            )
        if self._hung is not None and self._hung.poll() is None:
            raise StoreError(f"the reader of the store, process {self._hung.pid}, hangs; is its disk stuck?")
        process = start_reader(self._store.path, self._options)
        try:
            async with contextlib.aclosing(chunks(process)) as read:
                return await self._build(read)
        finally:
            process.kill()
            try:
                async with asyncio.timeout(1.0):
                    await ended(process)
            except TimeoutError:  # it hangs in the system
                self._hung = process

    async def _build(self, chunks: AsyncIterator[bytes]) -> Book | None:
        """Build a book of a reader's stream; None where there is nothing new."""
        frames = bookstream.FrameReader()
        builder: BookBuilder | None = None
        clients = accounts = did_runs = 0
        keys: set[str] = set()
        end: End | None = None
        async for chunk in chunks:
            self._step_began = time.perf_counter()
            for payload in frames.feed(chunk):
                frame = bookstream.decode(payload)
                if end is not None or isinstance(frame, Header) is not (builder is None):
                    raise WireError("the frames of the book came in a wrong order")
                if isinstance(frame, Header):
                    if not self._is_new(frame):
                        return None
                    self._making = Origin(frame, self._options, self._seen[0], keys)
                    builder = BookBuilder(self._options, frame.version, frame.hash_key)
                    continue
                assert builder is not None  # noqa: S101 - there was a header, see above
                if isinstance(frame, Clients):
                    for client in frame.rows:
                        builder.add_client(client)
                    clients += len(frame.rows)
                elif isinstance(frame, Accounts):
                    for number, account in enumerate(frame.rows):
                        if number % _LOOK == 0:
                            await self._breathe()
                        builder.add_account(account)
                        if account.password:
                            keys.add(key_id(account.password))
                    accounts += len(frame.rows)
                elif isinstance(frame, Dids):
                    for account_id, run in frame.runs:
                        builder.add_dids(account_id, run)
                    did_runs += len(frame.runs)
                else:
                    end = frame
                await self._breathe()
            # Always, since the next piece may be there already: then nothing else would let the loop go on.
            await self._breathe(always=True)
        self._step_began = time.perf_counter()
        if builder is None or end is None or end != End(clients, accounts, did_runs):
            raise StoreError(
                f"the book broke off while it was read from {self._store.path}; see whether the store is damaged "
                "(`identengine versions`), and import the book again or put a copy in its place"
            )
        return await self._finished(builder.finish())

    async def _finished(self, steps: Generator[None, None, Book]) -> Book:
        """Take the last steps of a builder; return its book."""
        while True:
            try:
                next(steps)
            except StopIteration as done:
                book: Book = done.value
                return book
            await self._breathe()

    def _is_new(self, header: Header) -> bool:
        in_use = self._in_use
        if header.version == 0:
            if in_use is None:
                raise StoreError(
                    f"the store {self._store.path} is empty; `identengine import BOOK --store {self._store.path}` "
                    "fills it"
                )
            raise StoreError(
                f"the store {self._store.path} became empty; import the book, or put a copy in its place"
            )
        if in_use is None:
            return True
        serving = in_use.header
        if header.version < serving.version or (header.version == serving.version and header != serving):
            newest = f"{header.version}, but another" if header.version == serving.version else f"{header.version}"
            raise StoreError(
                f"the store {self._store.path} was replaced by one whose newest version is {newest}; restart the "
                "server if that is what it should serve"
            )
        # `apply` waits for a book even where the options came back to what the one in use was made with.
        if header.version > serving.version or self._options != in_use.options or self._apply is not None:
            return True
        # What is in the store may be under another key by now, though the version is the same: after a rotation.
        return self._keyless is not None and (self._seen[0] != in_use.file or self._key_is_back(in_use.keys))

    def _key_is_back(self, keys: set[str]) -> bool:
        """Whether the key file opens a password that was closed till now, of those under ``keys``."""
        vault = self._engine.settings.vault
        known = set(vault.key_ids) if vault else set()
        try:
            return bool((keys - known) & set(self._store.vault().key_ids))
        except KeyFileError:
            return False

    async def _dismantle(self, book: Book) -> None:
        """Free a book that nobody uses any more, bit by bit."""
        self._step_began = time.perf_counter()
        for _ in dismantled(book):
            await self._breathe()

    async def _breathe(self, *, always: bool = False) -> None:
        """Let requests be decided, if this step has lasted long enough."""
        ended = time.perf_counter()
        step = ended - self._step_began
        if not always and step < self._step_seconds:
            return
        self.longest_step = max(self.longest_step, step)
        gc.freeze()
        await asyncio.sleep(0)
        self._step_began = time.perf_counter()
        others = self._step_began - ended
        self._step_seconds = min(max(STEP_SECONDS, others / 2), LONGEST_STEP_SECONDS)


def _signature(file: Path) -> _Signature:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev
