"""All events of the server's log in one place: the name, level, text and fields of each.

A line is a sentence for a person (``[log] format = "text"``), or a name with fields for a program (``"json"``, see
:mod:`identengine.log.handlers`). A line shows only the fields of its event, and no field of any event is a
password, a token or a digest. Each error and each alarm names its remedy. docs/operate/alarms.md explains them
all, and a test compares the page with this list.
"""

from __future__ import annotations

from identengine.log import recordevents
from identengine.log.event import Event

# Rejected calls and refused peers: at most one line a second for each source and reason ---------------------

REJECTED = Event("rejected", "info", "rejected %(reason)s from %(source)r by %(switch)s: %(count)d")
REJECTED_ACCOUNT = Event(
    "rejected",
    "info",
    "rejected %(reason)s from %(source)r by %(switch)s: %(count)d; the first call was of account %(account_id)d "
    "%(account_name)r",
)
REJECTED_FIELD = Event(
    "rejected",
    "info",
    "rejected %(reason)s from %(source)r by %(switch)s: %(count)d; the first call had %(field)s %(value)r",
)
REJECTED_FIELD_ABSENT = Event(
    "rejected",
    "info",
    "rejected %(reason)s from %(source)r by %(switch)s: %(count)d; the first call had no %(field)s",
)
REFUSED = Event("refused", "info", "rejected %(reason)s from %(source)r: %(count)d")
REFUSED_CERTIFICATE = Event("refused", "info", f"{REFUSED.text}; the first certificate is of %(names)r")
REJECTED_OTHERS = Event("rejected_others", "info", "rejected %(reason)s from other sources: %(count)d")

# Malformed messages: at most one line a second for each switch, or for each host without a known switch -----

MALFORMED = Event(
    "malformed",
    "warning",
    "malformed messages from %(switch)s at %(source)s: %(count)d; the first has error %(code)d, %(problem)s",
)
MALFORMED_OF_SWITCH = Event(
    "malformed",
    "warning",
    "malformed messages from %(switch)s: %(count)d; the first has error %(code)d, %(problem)s",
)
MALFORMED_STRANGER = Event(
    "malformed",
    "warning",
    "malformed messages from %(source)s, a host without a known switch: %(count)d; the first has error "
    "%(code)d, %(problem)s",
)
MALFORMED_OTHERS = Event(
    "malformed_others", "warning", "malformed messages with error %(code)d from other hosts: %(count)d"
)

# RADIUS packets without a reply: at most one line a second for each source and cause -----------------------

RADIUS_DROPPED = Event(
    "radius_dropped",
    "warning",
    "RADIUS packets from %(source)s, an address of %(switch)s, without a reply: %(count)d; %(meaning)s "
    "(%(cause)s)",
)
RADIUS_DROPPED_OTHERS = Event(
    "radius_dropped_others",
    "warning",
    "RADIUS packets from other sources without a reply: %(count)d; the cause is %(cause)s",
)

# Errors over UDP that would have had more bytes than the message: at most one line a second -----------------

WITHHELD = Event(
    "withheld",
    "info",
    "errors over UDP that were not sent, since a message without a right token gets no more bytes than it has: "
    "%(count)d; the first message came from %(source)s",
)

# The book ---------------------------------------------------------------------------------------------------

BOOK_IN_USE = Event(
    "book_in_use",
    "info",
    "book version %(version)d is in use with %(accounts)d accounts and %(dids)d active DIDs; loading took "
    "%(seconds).2f s, and requests waited at most %(pause_ms).1f ms for it",
)
BOOK_UNUSABLE = Event(
    "book_unusable",
    "alarm",
    "the newest version of the book cannot be loaded (%(serving)s): %(why)s",
    "Check the store (`identengine store check`), and that this server may read it. The server retries "
    "automatically.",
)
BOOK_KEY_MISSING = Event(
    "book_key_missing",
    "alarm",
    "calls that need a password are answered internal_error (%(serving)s): %(why)s",
    "Restore the key file at the path in [store] key_file. The server loads it automatically.",
)
KEY_FILE_LOST = Event(
    "key_file_lost",
    "alarm",
    "this server decrypts passwords with the key in its memory only: %(why)s",
    "Restore the key file before this server stops or restarts; the next start needs it.",
)
BOOK_ALARM_OVER = Event("book_alarm_over", "info", "the alarm about the book is over")

# The set of calls -------------------------------------------------------------------------------------------

CALLS_FULL = Event(
    "calls_full",
    "alarm",
    "the set of calls is full: all %(max_legs)d legs are in use, and new calls are rejected as overload",
    "Run `identengine calls` to see which accounts and switches hold the legs. If the calls are real, raise "
    "[calls] max_legs and restart. If they have ended, free them with `identengine calls end`.",
)
CALLS_FILE_FULL = Event(
    "calls_file_full",
    "alarm",
    "the file of the set of calls is full, and new calls are rejected as overload: %(path)s",
    "Free space on its file system, or raise [calls] max_legs. Then restart.",
)
CALLS_ROOM_AGAIN = Event("calls_room_again", "warning", "the set of calls has room again; the alarm is over")
CALLS_DAMAGED = Event(
    "calls_damaged",
    "alarm",
    "%(why)s",
    "Make the switches send update or sync, unless they do so automatically; until then limits do not count the "
    "lost calls. Delete the old file after you have looked into the cause.",
)
CALLS_LOST = Event(
    "calls_lost",
    "alarm",
    "the files of the set of calls are lost: %(why)s. The decider writes them again from its memory",
    "Find the program that removes or replaces files in the folder of [calls] path. Then exclude the folder from "
    "it, for instance in the config of the cleaner of temporary files.",
)
CALLS_UNSAVED = Event(
    "calls_unsaved",
    "alarm",
    "only the memory of the decider holds the calls: %(why)s",
    "Correct the cause; the decider tries again each second. Do not stop or restart the server before that: its "
    "calls would be lost.",
)
CALLS_SAVED = Event("calls_saved", "warning", "the set of calls is on disk again: %(path)s; the alarm is over")
CALLS_MISSING = Event(
    "calls_missing",
    "alarm",
    "calls are lost: %(why)s",
    "Make the switches send update or sync, unless they do so automatically; until then limits do not count the "
    "lost calls.",
)
CALLS_IN_USE = Event(
    "calls_in_use", "warning", "another process decides on the set of calls in %(path)s; waiting until it stops"
)
CALLS_ENDED = Event("calls_ended", "info", "an operator ended %(calls)s; legs freed: %(freed)d")
SWITCHES_GONE = Event(
    "switches_gone",
    "warning",
    "held legs without a switch in the config: %(legs)d (%(switches)s); they are freed when their leases end, or "
    "by `identengine calls end --switch NAME`",
)
COUNTERS_ANEW = Event("counters_anew", "warning", "%(why)s")

# The decider, the process that decides ----------------------------------------------------------------------

FAULTS = Event(
    "faults",
    "alarm",
    "faults of the program, in requests (answered internal_error) or other work: %(count)d; the trace is of the "
    "last one",
    "Save these lines and report them. If only one account's calls fail, `identengine explain` may show why.",
)
COMMAND_FAULT = Event(
    "command_fault",
    "error",
    "an operator's command failed by a fault of the program",
    "Save these lines and report them. No call was affected.",
)
SUPERVISOR_GONE = Event(
    "supervisor_gone",
    "alarm",
    "the supervisor died; this process answers what it has received, then stops",
    "Start `serve` again. Look into the system's log for the process that killed the supervisor (out of memory?).",
)
STANDBY_ENDS = Event("standby_ends", "info", "the supervisor died; the standby stops")
ANNOUNCED = Event("announced", "info", "%(what)s")
DRAINING = Event("draining", "info", "draining: answering what was received")
HURRIED = Event("hurried", "warning", "stopping at once after a second signal; unanswered requests are dropped")
STOPPED = Event("stopped", "info", "stopped")
STOPPED_UNSENT = Event("stopped", "info", "stopped; answers that the system did not accept over UDP: %(unsent)d")

LINES_DROPPED = Event(
    "lines_dropped",
    "warning",
    "%(count)d lines of the log were dropped here, because no process read them in time",
)

# The config -------------------------------------------------------------------------------------------------

CONFIG_WARNING = Event("config_warning", "warning", "%(what)s")
CONFIG_PROBLEM = Event("config_problem", "error", "config: %(what)s", "Correct it, then send SIGHUP again.")
CONFIG_REFUSED = Event(
    "config_refused",
    "error",
    "SIGHUP: the config has mistakes; nothing was changed",
    "Correct what the lines above name, check it with `identengine serve --check`, then send SIGHUP again.",
)
CONFIG_NOWHERE = Event(
    "config_nowhere", "warning", "SIGHUP: this server runs without a config file; nothing was read"
)
CONFIG_REREAD = Event("config_reread", "info", "SIGHUP: changed: %(changed)s")
CONFIG_FIXED = Event(
    "config_fixed",
    "warning",
    "SIGHUP: changes of %(sections)s are not in use; restart the server to apply them",
)
CONFIG_LATE = Event("config_late", "warning", "SIGHUP: %(child)s does not use the new config yet")

CRL_EXPIRED = Event(
    "crl_expired",
    "alarm",
    "the list of revoked client certificates has expired, and %(serving)s: %(what)s",
    "Put a new list into the file of [tls] client_crl, and send SIGHUP.",
)
CERTIFICATES_UNUSABLE = Event(
    "certificates_unusable",
    "alarm",
    "the certificates cannot be loaded, and those loaded earlier stay in use: %(what)s",
    "Correct the file, and send SIGHUP again before the certificates in use expire.",
)

# The HTTP process -------------------------------------------------------------------------------------------

HTTP_FAULT = Event(
    "http_fault",
    "error",
    "an HTTP request failed by a fault of the program",
    "Save these lines and report them. Other interfaces are not affected.",
)
HTTP_UNANSWERED = Event(
    "http_unanswered", "warning", "the decider rejected a request of the HTTP process for %(switch)s: %(why)s"
)
HTTP_ENDS = Event("http_ends", "info", "the supervisor died; the HTTP process stops")

# The supervisor ---------------------------------------------------------------------------------------------

RECEIVE_BUFFER = Event(
    "receive_buffer",
    "info",
    "udp %(endpoint)s has a receive buffer of %(kib)d KiB; it holds about %(datagrams)d datagrams of 300 bytes",
)
RECEIVE_BUFFER_SMALL = Event(
    "receive_buffer_small",
    "warning",
    "udp %(endpoint)s has a receive buffer smaller than the requested %(wanted_kib)d KiB; run "
    "`sysctl -w net.core.rmem_max=%(rmem_max)d` and restart",
)
NO_PROCESS = Event(
    "no_process",
    "alarm",
    "no process can be started: %(why)s; the next attempt is in %(pause).3g s",
    "Check whether the machine has run out of memory, files or processes (`ulimit -u`, TasksMax= of the service).",
)
PROCESS_STUCK = Event(
    "process_stuck",
    "alarm",
    "%(child)s was killed but still exists, and no process can replace it",
    "Check whether a disk hangs (`ps -o stat,wchan`, `dmesg`). If the process does not disappear, restart the "
    "machine.",
)
PROCESS_SILENT = Event(
    "process_silent",
    "alarm",
    "%(child)s gave no sign of life for %(seconds).0f s and is killed",
    "A replacement starts automatically. If this repeats, check for swapping, too little CPU or a slow disk.",
)
PROCESS_LATE = Event(
    "process_late",
    "alarm",
    "%(child)s did not stop within %(seconds).3g s and is killed",
    "Nothing is needed now: switches repeat the requests that were not answered. If this repeats, find what keeps "
    "the machine busy.",
)
PROCESS_CUT_OFF = Event(
    "process_cut_off",
    "alarm",
    "%(child)s %(how)s before it had answered everything",
    "Nothing is needed now: switches repeat their requests. Look into `dmesg` for the cause (out of memory?).",
)
DECIDER_DIED = Event(
    "decider_died",
    "alarm",
    "%(child)s %(how)s; %(next)s replaces it%(when)s",
    "Look for the cause in the lines above, and in `dmesg` if the process was killed (out of memory?).",
)
PROCESS_DIED = Event(
    "process_died",
    "alarm",
    "%(child)s %(how)s; a new process replaces it%(when)s",
    "Look for the cause in the lines above, and in `dmesg` if the process was killed (out of memory?).",
)
PROCESS_FAULT = Event(
    "process_fault",
    "alarm",
    "process %(pid)d stops because of a fault of the program",
    "A replacement starts automatically. Save these lines and report them.",
)

FOLDER_LOST = Event(
    "folder_lost",
    "alarm",
    "the folder of the set of calls has lost %(what)s; operators, HTTP and take-overs need them",
    "Nothing is needed now: the supervisor makes them again. Find the program that removes or replaces files in "
    "the folder of [calls] path. Then exclude the folder from it.",
)
FOLDER_UNUSABLE = Event(
    "folder_unusable",
    "alarm",
    "the supervisor cannot use the folder of the set of calls: %(why)s",
    "Correct the cause; the supervisor tries again each second. Until then operators, HTTP and take-overs may not "
    "reach this server.",
)
FOLDER_COMPLETE = Event(
    "folder_complete", "warning", "the folder of the set of calls is complete again: %(path)s; the alarm is over"
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
    "the supervisor stops because of a fault of the program",
    "The decider answers what it has received, then stops. Start `serve` again, unless a service manager does so. "
    "Save these lines and report them.",
)

# Take-overs -------------------------------------------------------------------------------------------------

NOBODY_TO_TAKE_OVER = Event(
    "nobody_to_take_over", "info", "--take-over: no server runs on %(path)s; this one starts as usual"
)
TAKING_OVER_FROM = Event(
    "taking_over_from", "info", "taking over from the server of process %(pid)d; loading the book meanwhile"
)
TOOK_OVER = Event("took_over", "info", "took over from the server of process %(pid)d")
TAKE_OVER_FAILED = Event(
    "take_over_failed",
    "alarm",
    "the take-over failed: %(why)s",
    "Nothing is lost, since the old server keeps serving. Correct the cause and try again.",
)
NO_DOOR = Event(
    "no_door",
    "alarm",
    "no other server can take over from this one: %(why)s",
    "Make the folder of [calls] path writable, and restart the server when convenient.",
)
NEWCOMER = Event("newcomer", "info", "process %(pid)d is about to take over; it loads its book")
HANDING_OVER = Event("handing_over", "info", "handing over to process %(pid)d")
HANDED_OVER = Event(
    "handed_over", "info", "handed over the set of calls; all received requests were answered in %(seconds).3f s"
)
HAND_OVER_FAILED = Event(
    "hand_over_failed",
    "alarm",
    "the hand-over failed, and this server keeps serving: %(why)s",
    "Read the log of the new server, correct the cause, and take over again.",
)
TAKEN_OVER = Event("taken_over", "info", "process %(pid)d has taken over; this server stops")
SUCCESSOR_STARTED = Event("successor_started", "info", "SIGUSR2: process %(pid)d was started to take over")
SUCCESSOR_IGNORED = Event(
    "successor_ignored",
    "warning",
    "SIGUSR2 ignored: a take-over is in progress, or this server is still starting",
)
SUCCESSOR_IMPOSSIBLE = Event(
    "successor_impossible",
    "alarm",
    "SIGUSR2 ignored: this process is the first of its container, and the container stops when it does",
    "Start a second container with --take-over that shares [calls] path and the network, or restart this one.",
)
NO_SUCCESSOR = Event(
    "no_successor",
    "alarm",
    "SIGUSR2: the new server cannot be started, and this one keeps serving: %(why)s",
    "Check whether the machine has run out of memory, files or processes (`ulimit -u`, TasksMax= of the service).",
)

EVENTS = tuple(one for one in (*globals().copy().values(), *vars(recordevents).values()) if isinstance(one, Event))
"""All events."""
