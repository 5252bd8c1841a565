"""What SIGHUP does: the supervisor alone reads the config file, and hands what it says to every child.

So all processes have the same config, whatever is written to the file meanwhile, and one line of the log names
what changed in all of them. A wrong config is refused once, and no child hears of it.
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
"""How long the children may take before the log and the service manager are told all the same."""


class Reload:
    """The last SIGHUP, and those before it that the children are still waited for."""

    def __init__(self, children: Children) -> None:
        self.refused = False
        """Whether it found a wrong config."""
        self._children = children
        self._changed: tuple[str, ...] | None = None
        """Sections that change, while the children are waited for; of several SIGHUPs together."""
        self._until = 0.0

    @property
    def over(self) -> bool:
        """Whether it is obeyed everywhere, or was waited for long enough."""
        return self._changed is None

    def begin(self, config: Config) -> Config:
        """Read the file of a config again and hand it out; return the config in force from now on."""
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
        else:  # a SIGHUP before the last one is in force: one line names what changes by both
            self._changed = tuple(label for label in RELOADABLE.values() if label in {*self._changed, *changed})
        if "[limits]" in changed:
            self._allow_files(new)
        encoded = codec.encode(new)
        for child in self._children.all():
            child.hand(encoded)
        return new

    def _allow_files(self, config: Config) -> None:
        """Let us and the children open as many files as the config needs."""
        filelimit.allow(config)
        for child in self._children.all():
            with contextlib.suppress(OSError):  # it is dying
                filelimit.allow(config, child.pid)
        if (shortage := filelimit.shortage(config)) is not None:
            FEW_FILES.tell(what=shortage)

    def look(self) -> None:
        """Say what changed, once all children go by it."""
        if not self.over and (not self._late() or time.monotonic() >= self._until):
            self._finish()

    def _finish(self) -> None:
        CONFIG_REREAD.tell(changed=", ".join(self._changed or ()) or "nothing")
        self._changed = None
        for child in self._late():
            CONFIG_LATE.tell(child=child)

    def _late(self) -> list[str]:
        return [str(child) for child in self._children.all() if child.late]
