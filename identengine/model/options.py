"""The options of identification (interfaces.md 7, ``[identify]``), in the form that index and matching use."""

from __future__ import annotations

from typing import Literal

import msgspec

IdentClass = Literal["name", "ip", "ani"]
When = Literal["always", "never"]


class IdentifyOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options that control how requests are identified (engine.md 3). Defaults are those of interfaces.md 7.

    A switch may have its own ``match_port`` and ``match_protocol`` (see :meth:`for_switch`). Options that shape
    the index (``classes``, ``passwordless_name``, ``international_prefixes``) are the same for all switches.
    """

    classes: tuple[IdentClass, ...] = ("name", "ip", "ani")
    rank: Literal["mask_first", "tech_prefix_first"] = "mask_first"
    match_port: When = "always"
    match_protocol: When = "always"
    strict_ambiguity: bool = False
    require_password: bool = False
    passwordless_name: Literal["deny", "after_ip", "normal"] = "deny"
    international_prefixes: tuple[str, ...] = ()

    def for_switch(self, match_port: When | None, match_protocol: When | None) -> IdentifyOptions:
        """Return these options with ``match_port`` and ``match_protocol`` of one switch. None keeps a value."""
        return msgspec.structs.replace(
            self,
            match_port=match_port or self.match_port,
            match_protocol=match_protocol or self.match_protocol,
        )
