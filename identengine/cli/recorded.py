"""The record of decisions for commands: its folder, the options of its switches, and its decisions as objects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from identengine.cli.output import hint
from identengine.cli.workspace import Workspace
from identengine.errors import counted
from identengine.model.options import IdentifyOptions

if TYPE_CHECKING:
    from identengine.record.entry import Recorded
    from identengine.record.reader import RecordReader


class Record(NamedTuple):
    """The record that belongs to a workspace."""

    reader: RecordReader
    options_of: Callable[[str], IdentifyOptions]
    """A function from the name of a switch to its options: those of the config, or else the defaults."""
    decisions: str
    """``[record] decisions`` of the config, or its default."""

    def warn(self) -> None:
        """Hint at entries that could not be read."""
        if self.reader.damaged:
            hint(f"{counted(self.reader.damaged, 'entry')} of the record damaged and left out")


def record_of(here: Workspace) -> Record:
    """Return the record of a workspace: the one that the config names, or else the one next to the store."""
    from identengine.record.reader import RecordReader

    return Record(RecordReader(_folder(here)), _options_of(here), _decisions(here))


def _folder(here: Workspace) -> Path:
    from identengine.record.segments import default_folder

    return here.config.record.path if here.config is not None else default_folder(here.store)


def _decisions(here: Workspace) -> str:
    return here.config.record.decisions if here.config is not None else "rejects"


def _options_of(here: Workspace) -> Callable[[str], IdentifyOptions]:
    config = here.config
    if config is None:
        return lambda switch: IdentifyOptions()
    switches = {switch.name: switch for switch in config.switches}
    return lambda name: switches[name].options(config.identify) if name in switches else config.identify


def decision_object(entry: Recorded) -> dict[str, object]:
    """Return a decision for JSON (interfaces.md 2, "JSON shapes")."""
    asked, decision = entry.request, entry.decision
    found: dict[str, object] = {
        "at": entry.at,
        "switch": entry.switch,
        "call_id": asked.call_id,
        "leg_id": asked.leg_id,
        "direction": decision.direction or asked.direction,
        "request": {name: value for name, value in msgspec.structs.asdict(asked).items() if value is not None},
        "decision": decision,
        "version": decision.version,
        "interface": entry.interface,
    }
    if entry.credential is not None:
        found["credential"] = msgspec.structs.asdict(entry.credential)
    if entry.masked:
        found["masked"] = True
    return found
