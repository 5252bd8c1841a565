"""Loads new versions of the book while the server decides (engine.md 8.2).

The follower watches the time, size and inode of the store's file and of the key file. When one changes, a reader
process (:mod:`identengine.server.decider.bookstream`) sends the newest version. The follower builds the new book
in steps of about a millisecond, and requests are decided between the steps. One assignment then replaces the old
book.

Rule: a failure before that assignment leaves the old book in use. One alarm reports the cause and the remedy. The
follower retries when a file changes, and also periodically. It loads only versions of the store that it serves: a
different store, or an older copy, stays refused until a restart (D20).

The garbage collector must not traverse the millions of objects of a book. After each step, ``gc.freeze`` hides all
live objects from it, at a constant cost. No object of a book is part of a cycle, so reference counts free a
replaced book. That is done in steps, too.
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
from identengine.errors import IdentengineError, KeyFileError, StoreError, WireError, sentences
from identengine.identify.builder import BookBuilder
from identengine.identify.dismantle import dismantled
from identengine.identify.index import Book
from identengine.log.event import Event
from identengine.log.events import (
    BOOK_ALARM_OVER,
    BOOK_IN_USE,
    BOOK_KEY_MISSING,
    BOOK_UNUSABLE,
    KEY_FILE_LOST,
)
from identengine.model.options import IdentifyOptions
from identengine.server.decider import bookstream, hugepages
from identengine.server.decider.bookreader import chunks, exit_status, start_reader
from identengine.server.decider.bookstream import Accounts, Clients, Dids, End, Header
from identengine.store.file import data_file
from identengine.store.vault import default_key_file, key_id

WATCH_SECONDS = 0.05
"""Interval between checks of the files, in seconds."""
STEP_SECONDS = 0.001
"""Length of a step while few requests arrive, in seconds."""
LONGEST_STEP_SECONDS = 0.005
"""Longest step, in seconds. Under load a step lasts half as long as the decisions since the last step took. With
steps of constant length, the load of a book would never finish."""
RETRY_SECONDS = 0.5, 30.0
"""First and longest pause before a retry although no file changed, in seconds. The pause doubles each time."""
_LOOK = 16
"""Number of rows that are added between two readings of the clock."""

_Signature: TypeAlias = tuple[int, ...] | None


class Origin(msgspec.Struct):
    """The source of a book."""

    header: Header
    options: IdentifyOptions
    file: _Signature
    """Signature of the store's file when the load began."""
    keys: set[str]
    """Ids of the keys under which the book's passwords are encrypted."""


class BookFollower:
    """Keeps the engine's book at the newest version of one store.

    ``options`` apply to the next book that is loaded. ``loads``, ``loaded_at``, ``load_seconds``, ``load_pause``,
    :attr:`created_at`, :attr:`alarm` and :attr:`unusable` report the progress.
    """

    def __init__(self, engine: Engine, store: StoreConfig, options: IdentifyOptions) -> None:
        self.longest_step = 0.0
        """Longest time that the last load kept requests waiting, in seconds."""
        self.loads = 0
        """Number of versions that were loaded."""
        self.loaded_at = self.load_seconds = self.load_pause = 0.0
        """End of the last load in Unix seconds, its duration, and its longest step, both in seconds."""
        self.tried = asyncio.Event()
        """Set when the first load has ended, with or without a book."""
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
        self._loading: Origin | None = None
        """Source of the book that is being loaded. It stays set after the load."""
        self._keyless: str | None = None
        """The alarm text if the book in use has passwords that no available key decrypts."""
        self._hung: subprocess.Popen[bytes] | None = None
        """A reader that survived SIGKILL."""

    def use_options(self, options: IdentifyOptions, apply: Callable[[], None]) -> None:
        """Load a book with other options. ``apply`` is called at the moment when it replaces the old book."""
        self._options, self._apply = options, apply
        self._next_try = 0.0

    async def follow(self) -> None:
        """Load the newest version now, and each later version, until cancelled."""
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
                if options == self._options:  # otherwise SIGHUP changed them: retry at once
                    self._next_try = loop.time() + self._pause
                self.tried.set()
            await asyncio.sleep(WATCH_SECONDS)

    async def _try(self) -> None:
        began = time.perf_counter()
        try:
            old, options = self._engine.book, self._options
            book = await self._read()
            origin = self._loading
            if book is None or origin is None:
                if self._keyless is None:
                    self._end_alarm()
                else:
                    self._raise_alarm(BOOK_KEY_MISSING, self._keyless)
                return
            # SIGHUP changed the options during the load: the book does not fit them.
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
            if len(book.accounts) >= hugepages.LEAST_ACCOUNTS:
                await asyncio.to_thread(hugepages.collapse)
        except IdentengineError as error:
            self._raise_alarm(BOOK_UNUSABLE, str(error))
        except (msgspec.MsgspecError, OSError) as error:
            self._raise_alarm(BOOK_UNUSABLE, f"the book cannot be read from {self._store.path}: {error}")
        except Exception as error:  # a damaged row, or a bug: the server continues
            what = f"{type(error).__name__}: {error}"
            why = f"the book in {self._store.path} cannot be used ({what})"
            remedy = "Import it again, or put a copy of the store in its place."
            self._raise_alarm(BOOK_UNUSABLE, sentences(why, remedy), error)

    def _swap(self, book: Book, origin: Origin) -> None:
        """Replace the book, the keys of its passwords and its options, all in one step."""
        problem = self._find_key(origin.keys)
        self._engine.take_up(book)
        self._in_use = origin
        self.loads += 1
        self.loaded_at = time.time()
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
        """Add the keys of a book's passwords to the engine. Return the problem, or None if no key is missing."""
        if not keys:
            return None
        vault, problem = None, "the passwords of the book are encrypted under a key that is missing"
        try:
            vault = self._store.vault()
        except KeyFileError as error:
            problem = str(error)
        settings = self._engine.settings
        known = settings.vault
        if vault is not None and known is not None and not keys <= set(vault.key_ids):
            vault = vault.joined(known)  # keep the keys in memory if the file has others
        vault = vault or known
        if vault is None:
            return problem
        self._engine.settings = msgspec.structs.replace(settings, vault=vault)
        missing = keys - set(vault.key_ids)
        return f"{problem} ({', '.join(sorted(missing))})" if missing else None

    def _look_at_key(self) -> None:
        """Log a key file that has become unusable, since the next start could not decrypt the passwords."""
        if self._in_use is not None and self._in_use.keys and self._keyless is None:
            try:
                self._store.vault()
            except KeyFileError as error:
                KEY_FILE_LOST.tell(why=str(error))

    def _look(self) -> tuple[_Signature, _Signature]:
        """Return the signatures of the store's file and of the key file, each None if the file is missing."""
        return _signature(data_file(self._store.path)), _signature(self._key_file)

    @property
    def created_at(self) -> float:
        """Creation time of the version in use, in Unix seconds; 0 if there is no book."""
        return self._in_use.header.at if self._in_use is not None else 0.0

    @property
    def alarm(self) -> str | None:
        """Text of the current alarm about the newest version, or None."""
        return self._alarm

    @property
    def unusable(self) -> bool:
        """True if the newest version cannot be loaded. A missing key alone leaves most calls decidable."""
        return self._unusable

    def _end_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm, self._unusable = None, False
            BOOK_ALARM_OVER.tell()

    def _raise_alarm(self, alarm: Event, why: str, fault: Exception | None = None) -> None:
        """Log an alarm once, with the traceback of ``fault`` if it is a bug."""
        book = self._engine.book
        serving = f"version {book.version} stays in use" if book else "calls are rejected as not_ready"
        text = alarm.said(why=why, serving=serving)
        if text != self._alarm:
            self._alarm, self._unusable = text, alarm is BOOK_UNUSABLE
            alarm.tell(fault, why=why, serving=serving)

    async def _read(self) -> Book | None:
        """Return the newest version, or None if it is in use already. Raise StoreError if it cannot be loaded."""
        self.longest_step = 0.0
        if self._seen[0] is None:
            raise StoreError(
                f"there is no store at {self._store.path}. Create one with `identengine import BOOK --store "
                f"{self._store.path}`, or put a copy of a store there."
            )
        if self._hung is not None and self._hung.poll() is None:
            raise StoreError(f"the reader of the store, process {self._hung.pid}, hangs. Check its disk.")
        served = self._in_use.header.version if self._in_use is not None else 0
        process = start_reader(self._store.path, self._options, served)
        try:
            async with contextlib.aclosing(chunks(process)) as read:
                return await self._build(read)
        finally:
            process.kill()
            try:
                async with asyncio.timeout(1.0):
                    await exit_status(process)
            except TimeoutError:  # it hangs in a system call
                self._hung = process

    async def _build(self, chunks: AsyncIterator[bytes]) -> Book | None:
        """Return the book that a reader streams, or None if it is in use already."""
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
                    raise WireError("the frames of the book arrived in a wrong order")
                if isinstance(frame, Header):
                    if not self._is_new(frame):
                        return None
                    self._loading = Origin(frame, self._options, self._seen[0], keys)
                    builder = BookBuilder(self._options, frame.version, frame.hash_key)
                    continue
                assert builder is not None  # noqa: S101 - the header came first, see above
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
            # Always: if the next chunk has arrived already, no other statement yields to the loop.
            await self._breathe(always=True)
        self._step_began = time.perf_counter()
        if builder is None or end is None or end != End(clients, accounts, did_runs):
            raise StoreError(
                f"the book from {self._store.path} is incomplete. Check with `identengine store check` whether "
                "the store is damaged. Import the book again, or replace the store with a copy."
            )
        return await self._finished(builder.finish())

    async def _finished(self, steps: Generator[None, None, Book]) -> Book:
        """Run the last steps of a builder and return its book."""
        while True:
            try:
                next(steps)
            except StopIteration as done:
                book: Book = done.value
                return book
            await self._breathe()

    def _is_new(self, header: Header) -> bool:
        """Return True if the version must be loaded. Raise StoreError if it is not of the store that is served."""
        in_use, path = self._in_use, self._store.path
        if header.version == 0:
            if in_use is None:
                raise StoreError(
                    f"the store {path} is empty. Fill it with `identengine import BOOK --store {path}`."
                )
            raise StoreError(
                f"the store {path} became empty. Import the book and restart the server, or put a copy of the "
                "store in its place."
            )
        if in_use is None:
            return True
        served = in_use.header
        if not header.continues(served):
            raise StoreError(
                f"the store {path} was replaced: its newest version is {header.version}, and it does not hold "
                f"version {served.version} as it is served. Put the store back, or restart the server to serve "
                "the new one."
            )
        # `apply` waits for a book even if the options changed back to those of the book in use.
        if header.version > served.version or self._options != in_use.options or self._apply is not None:
            return True
        # A rotation of the key encrypts the passwords again under the same version number.
        return self._keyless is not None and (self._seen[0] != in_use.file or self._has_missing_key(in_use.keys))

    def _has_missing_key(self, keys: set[str]) -> bool:
        """Return True if the key file now holds a key of ``keys`` that the engine does not have."""
        vault = self._engine.settings.vault
        known = set(vault.key_ids) if vault else set()
        try:
            return bool((keys - known) & set(self._store.vault().key_ids))
        except KeyFileError:
            return False

    async def _dismantle(self, book: Book) -> None:
        """Free a book that is no longer used, in steps."""
        self._step_began = time.perf_counter()
        for _ in dismantled(book):
            await self._breathe()

    async def _breathe(self, *, always: bool = False) -> None:
        """Yield to the loop, so that requests are decided, if this step has lasted long enough."""
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
