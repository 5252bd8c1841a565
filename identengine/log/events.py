"""Everything that the server says in its log, in one place: each event's name, level, words and fields.

A line is a sentence for a person (``[log] format = "text"``) and a name with fields for a program (``"json"``,
:mod:`identengine.log.handlers`). What is no field of an event cannot get into a line: no password, token or digest
is one of any. An error, and an alarm above all, says what to do; docs/operate/alarms.md has more about each, and a test
holds the two together.
"""

from __future__ import annotations

import logging
from typing import Literal, NamedTuple, TypeAlias

Field: TypeAlias = str | int | float | None

_log = logging.getLogger("identengine")

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR, "alarm": logging.ERROR}


class Event(NamedTuple):
    """Something that can be said."""

    name: str
    """For programs: it stays as it is, whatever becomes of the words."""
    level: Literal["info", "warning", "error", "alarm"]
    """An alarm is an error of the server or of what it stands on: somebody has to look."""
    text: str
    """What has happened, with the fields as ``%(name)s``."""
    do: str = ""
    """What to do; of errors and alarms."""

    def said(self, **fields: Field) -> str:
        """Return the sentence, with what to do."""
        text = self.text % fields if fields else self.text
        return f"{text}; {self.do}" if self.do else text

    def tell(self, fault: BaseException | None = None, /, **fields: Field) -> None:
        """Write it to the log; with the trace of ``fault``, where it is one of the program."""
        line = f"{'ALARM: ' if self.level == 'alarm' else ''}{self.text}"
        if self.do:
            line += f"; {self.do.replace('%', '%%') if fields else self.do}"
        _log.log(_LEVELS[self.level], line, *([fields] if fields else []), exc_info=fault, extra={"event": self})


# Rejected calls and refused peers, once a second for each source and reason ---------------------------------

REJECTED = Event("rejected", "info", "rejected %(reason)s from %(source)r by %(switch)s: %(count)d")
REFUSED = Event("refused", "info", "rejected %(reason)s from %(source)r: %(count)d")
REJECTED_OTHERS = Event("rejected_others", "info", "rejected %(reason)s from other sources: %(count)d")

# The book ---------------------------------------------------------------------------------------------------

BOOK_IN_USE = Event(
    "book_in_use",
    "info",
    "book version %(version)d is in use: %(accounts)d accounts, %(dids)d active DIDs; it took %(seconds).2f s, "
    "longest pause %(pause_ms).1f ms",
)
BOOK_UNUSABLE = Event(
    "book_unusable",
    "alarm",
    "%(why)s (%(serving)s)",
    "check the store (`identengine store check`), and that this server may read it; the server retries automatically",
)
BOOK_KEY_MISSING = Event(
    "book_key_missing",
    "alarm",
    "%(why)s; calls that need a password are answered internal_error (%(serving)s)",
    "put the key file back where [store] key_file says; it is taken up by itself",
)
KEY_FILE_LOST = Event(
    "key_file_lost",
    "alarm",
    "%(why)s (passwords are opened by the key in memory until this server ends)",
    "put the key file back before this server ends or restarts",
)
BOOK_ALARM_OVER = Event("book_alarm_over", "info", "the alarm is over")

# The set of calls -------------------------------------------------------------------------------------------

CALLS_FULL = Event(
    "calls_full",
    "alarm",
    "the set of calls is full, all %(max_legs)d places are taken: calls are rejected as overload until some have "
    "ended",
    "see who holds them by `identengine calls`, or raise [calls] max_legs and restart",
)
CALLS_FILE_FULL = Event(
    "calls_file_full",
    "alarm",
    "the file %(path)s that keeps the calls is full: calls are rejected as overload until some have ended",
    "make room there, or raise [calls] max_legs, and restart",
)
CALLS_ROOM_AGAIN = Event("calls_room_again", "warning", "the set of calls has room again: the alarm is over")
CALLS_DAMAGED = Event(
    "calls_damaged",
    "alarm",
    "%(why)s",
    "let the switches send update or sync, if they do not by themselves; remove what was put aside once nobody "
    "wants to look into it",
)
CALLS_IN_USE = Event(
    "calls_in_use", "warning", "another process decides on the set of calls in %(path)s still; waiting for it"
)
CALLS_ENDED = Event("calls_ended", "info", "an operator ended %(calls)s: %(freed)d freed")
SWITCHES_GONE = Event(
    "switches_gone",
    "warning",
    "held legs without a switch in the config: %(legs)d (%(switches)s); they are freed when their leases end, or by "
    "`identengine calls end --switch NAME`",
)
COUNTERS_ANEW = Event("counters_anew", "warning", "%(why)s")

# The process that decides -----------------------------------------------------------------------------------

FAULTS = Event(
    "faults",
    "alarm",
    "faults of the program, of requests (internal_error) or other work; last of %(count)d",
    "keep these lines and report them; if only one account's calls are hit, `identengine explain` may show why",
)
COMMAND_FAULT = Event(
    "command_fault",
    "error",
    "a request of an operator's command could not be answered",
    "keep these lines and report them; no call was concerned",
)
SUPERVISOR_GONE = Event(
    "supervisor_gone",
    "alarm",
    "the supervisor is gone; answering what was received, then ending",
    "start `serve` again; look into the system's log for who ended it (out of memory?)",
)
STANDBY_ENDS = Event("standby_ends", "info", "the supervisor is gone, and so goes the standby")
ANNOUNCED = Event("announced", "info", "%(what)s")
DRAINING = Event("draining", "info", "draining")
HURRIED = Event("hurried", "warning", "told to end again: what was not answered by now is dropped")
STOPPED = Event("stopped", "info", "stopped")
STOPPED_UNSENT = Event("stopped", "info", "stopped; the system did not take %(unsent)d answers over UDP")

LINES_DROPPED = Event(
    "lines_dropped", "warning", "%(count)d lines of the log were dropped here, since nobody read them"
)

# The config -------------------------------------------------------------------------------------------------

CONFIG_WARNING = Event("config_warning", "warning", "%(what)s")
CONFIG_PROBLEM = Event("config_problem", "error", "config: %(what)s", "mend it and send SIGHUP again")
CONFIG_REFUSED = Event(
    "config_refused",
    "error",
    "SIGHUP: the config is wrong and nothing was changed",
    "mend what the lines before this one name, see what `identengine serve --check` says, and send SIGHUP again",
)
CONFIG_NOWHERE = Event("config_nowhere", "warning", "SIGHUP: there is no config file to read again")
CONFIG_REREAD = Event("config_reread", "info", "SIGHUP: changed: %(changed)s")
CONFIG_FIXED = Event(
    "config_fixed",
    "warning",
    "SIGHUP: %(sections)s cannot change while running; restart the server for that",
)
CONFIG_LATE = Event("config_late", "warning", "SIGHUP: %(child)s does not go by the new config yet")

CERTIFICATES_UNUSABLE = Event(
    "certificates_unusable",
    "alarm",
    "%(what)s; the certificates that were read before stay in use, if any were",
    "mend that, and send SIGHUP again before they expire",
)

# The process for HTTP ---------------------------------------------------------------------------------------

HTTP_FAULT = Event(
    "http_fault",
    "error",
    "a request of HTTP could not be answered",
    "keep these lines and report them; other interfaces are not concerned",
)
HTTP_UNANSWERED = Event(
    "http_unanswered", "warning", "the process that decides does not take what HTTP asks for %(switch)s: %(why)s"
)
HTTP_ENDS = Event("http_ends", "info", "the supervisor is gone, and so goes the HTTP process")

# The supervisor ---------------------------------------------------------------------------------------------

RECEIVE_BUFFER = Event(
    "receive_buffer",
    "info",
    "udp %(endpoint)s has a receive buffer of %(kib)d KiB: some %(datagrams)d datagrams of 300 bytes wait there "
    "while nobody reads",
)
RECEIVE_BUFFER_SMALL = Event(
    "receive_buffer_small",
    "warning",
    "udp %(endpoint)s: the receive buffer is smaller than was asked for (%(wanted_kib)d KiB); "
    "`sysctl -w net.core.rmem_max=%(rmem_max)d` and a restart give it",
)
NO_PROCESS = Event(
    "no_process",
    "alarm",
    "no process can be started: %(why)s; next try in %(pause).3g s",
    "see whether memory, processes (`ulimit -u`, TasksMax= of the service) or files are used up",
)
PROCESS_STUCK = Event(
    "process_stuck",
    "alarm",
    "%(child)s was killed and is there still: nobody takes its place",
    "see whether a disk hangs (`ps -o stat,wchan` of it, `dmesg`); if it stays, restart the machine",
)
PROCESS_SILENT = Event(
    "process_silent",
    "alarm",
    "%(child)s gave no sign of life for %(seconds).0f s and is killed",
    "another takes its place; if that comes again, see whether the machine swaps, lacks CPU or has a slow disk",
)
PROCESS_LATE = Event(
    "process_late",
    "alarm",
    "%(child)s did not end within %(seconds).3g s and is killed",
    "nothing, as the server ends anyway: switches ask again for what was not answered; if that comes again, see "
    "what keeps the machine busy",
)
PROCESS_CUT_OFF = Event(
    "process_cut_off",
    "alarm",
    "%(child)s %(how)s before it had answered everything",
    "nothing for now: switches ask again; see `dmesg` for who ended it (out of memory?)",
)
DECIDER_DIED = Event(
    "decider_died",
    "alarm",
    "%(child)s %(how)s; %(next)s takes its place%(when)s",
    "look for the cause in the lines before this one, and in `dmesg` where it was killed (out of memory?)",
)
PROCESS_DIED = Event(
    "process_died",
    "alarm",
    "%(child)s %(how)s; another is started%(when)s",
    "look for the cause in the lines before this one, and in `dmesg` where it was killed (out of memory?)",
)
PROCESS_FAULT = Event(
    "process_fault",
    "alarm",
    "process %(pid)d ends by a fault of the program",
    "another takes its place; keep these lines and report them",
)

FEW_FILES = Event("few_files", "warning", "%(what)s")
PLAIN_PYTHON = Event(
    "plain_python",
    "warning",
    "Python %(version)s was built without profile-guided optimization: each message costs about %(percent)d %% "
    "more processor time; see docs/operate/install.md, Python",
)
SUPERVISOR_FAULT = Event(
    "supervisor_fault",
    "alarm",
    "the supervisor ends by a fault of the program",
    "the decider answers what it has received and ends; start `serve` again, if no service manager does, and "
    "report these lines",
)

# Take-overs -------------------------------------------------------------------------------------------------

NOBODY_TO_TAKE_OVER = Event(
    "nobody_to_take_over", "info", "--take-over: no server runs on %(path)s; this one starts as usual"
)
TAKING_OVER_FROM = Event(
    "taking_over_from", "info", "taking over from the server of process %(pid)d; loading the book beside it"
)
TOOK_OVER = Event("took_over", "info", "took over from the server of process %(pid)d")
TAKE_OVER_FAILED = Event(
    "take_over_failed",
    "alarm",
    "the take-over failed: %(why)s",
    "nothing is lost, as the old server goes on; mend what is named and try again",
)
NO_DOOR = Event(
    "no_door",
    "alarm",
    "%(why)s; nobody can take over from this server",
    "make the folder of [calls] path writable, and restart the server when there is time for it",
)
NEWCOMER = Event("newcomer", "info", "process %(pid)d is going to take over; it loads its book")
HANDING_OVER = Event("handing_over", "info", "handing over to process %(pid)d")
HANDED_OVER = Event(
    "handed_over", "info", "handed the calls over; all that was received was answered in %(seconds).3f s"
)
HAND_OVER_FAILED = Event(
    "hand_over_failed",
    "alarm",
    "%(why)s; this server goes on",
    "see what the new program said, mend that, and take over again",
)
TAKEN_OVER = Event("taken_over", "info", "process %(pid)d has taken over; this server ends")
SUCCESSOR_STARTED = Event("successor_started", "info", "SIGUSR2: process %(pid)d is to take over")
SUCCESSOR_IGNORED = Event(
    "successor_ignored",
    "warning",
    "SIGUSR2: there is a take-over already, or this server is still starting; ignored",
)
SUCCESSOR_IMPOSSIBLE = Event(
    "successor_impossible",
    "alarm",
    "SIGUSR2: with this process, the first of its container, the container would end; this server goes on",
    "start a second container with --take-over that shares [calls] path and the network, or restart this one",
)
NO_SUCCESSOR = Event(
    "no_successor",
    "alarm",
    "SIGUSR2: no process can be started: %(why)s; this server goes on",
    "see whether memory, processes (`ulimit -u`, TasksMax= of the service) or files are used up",
)

EVENTS: tuple[Event, ...] = tuple(value for value in globals().copy().values() if isinstance(value, Event))
"""All of them."""
