"""SIGHUP: the supervisor reads the config file and hands the config to every child.

Rule: the supervisor alone reads the file, so that all processes have the same config even if the file changes
again. One line of the log names the sections that changed in any process. An invalid config is refused once, and
no child receives it.
"""

from __future__ import annotations

import contextlib
import time

from identengine.config import codec
from identengine.config.changes import RELOADABLE, changes
from identengine.config.load import reload
from identengine.config.schema import Config
from identengine.errors import ConfigError
from identengine.log import handlers
from identengine.log.events import (
    CONFIG_FIXED,
    CONFIG_LATE,
    CONFIG_NOWHERE,
    CONFIG_PROBLEM,
    CONFIG_REFUSED,
    CONFIG_REREAD,
    CONFIG_WARNING,
    FEW_FILES,
)
from identengine.server.supervisor import filelimit
from identengine.server.supervisor.children import Children

RELOAD_SECONDS = 5.0
"""Longest wait for the children before the log and the service manager report the reload, in seconds."""


class Reload:
    """The last SIGHUP, and earlier ones that some children have not applied yet."""

    def __init__(self, children: Children) -> None:
        self.refused = False
        """True if the config of the last SIGHUP was invalid."""
        self._children = children
        self._changed: tuple[str, ...] | None = None
        """Sections that change by all pending SIGHUPs together, or None if no child is waited for."""
        self._until = 0.0

    @property
    def over(self) -> bool:
        """True if every child has applied the config, or the wait is over."""
        return self._changed is None

    def begin(self, config: Config) -> Config:
        """Read the file of a config again and hand it to the children. Return the config that is now in force."""
        if config.source is None:
            CONFIG_NOWHERE.tell()
            return config
        try:
            new, changed, fixed = changes(config, reload(config.source))
        except ConfigError as error:
            self.refused = True
            for problem in error.problems:
                CONFIG_PROBLEM.tell(what=problem)
            CONFIG_REFUSED.tell()
            return config
        self.refused = False
        handlers.set_up_direct(new.log)
        for warning in new.warnings:
            CONFIG_WARNING.tell(what=warning)
        if fixed:
            CONFIG_FIXED.tell(sections=", ".join(fixed))
        if self._changed is None:
            self._changed, self._until = changed, time.monotonic() + RELOAD_SECONDS
        else:  # an earlier SIGHUP is pending: one line names the changes of both
            self._changed = tuple(label for label in RELOADABLE.values() if label in {*self._changed, *changed})
        if "[limits]" in changed:
            self._allow_files(new)
        encoded = codec.encode(new)
        for child in self._children.all():
            child.hand(encoded)
        return new

    def _allow_files(self, config: Config) -> None:
        """Raise the limit on open files of this process and its children."""
        filelimit.allow(config)
        for child in self._children.all():
            with contextlib.suppress(OSError):  # the child is dying
                filelimit.allow(config, child.pid)
        if (shortage := filelimit.shortage(config)) is not None:
            FEW_FILES.tell(what=shortage)

    def look(self) -> None:
        """Log the changes once all children have applied the config."""
        if not self.over and (not self._late() or time.monotonic() >= self._until):
            self._finish()

    def _finish(self) -> None:
        CONFIG_REREAD.tell(changed=", ".join(self._changed or ()) or "nothing")
        self._changed = None
        for child in self._late():
            CONFIG_LATE.tell(child=child)

    def _late(self) -> list[str]:
        return [str(child) for child in self._children.all() if child.late]
