"""The part of a config that the checks need: how requests are identified, and the addresses of the switches."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from identengine.model.addresses import Network
from identengine.model.numbers import longest_first
from identengine.model.options import IdentifyOptions


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """The options of all switches, and the networks of the switches."""

    options: IdentifyOptions = IdentifyOptions()
    """The options of ``[identify]``, by which ``explain`` decides."""
    variants: tuple[IdentifyOptions, ...] = (IdentifyOptions(),)
    """The different options of the switches."""
    prefixes: tuple[str, ...] = ()
    """The international prefixes, the longest first."""
    switches: tuple[tuple[str, Network], ...] | None = None
    """Name and network of each switch. None without a config."""

    @property
    def counts_port(self) -> bool:
        """True if a port is a constraint for at least one switch."""
        return any(one.match_port == "always" for one in self.variants)

    @property
    def counts_protocol(self) -> bool:
        """True if a protocol is a constraint for at least one switch."""
        return any(one.match_protocol == "always" for one in self.variants)


def scope_of(
    options: IdentifyOptions,
    variants: Sequence[IdentifyOptions] = (),
    switches: tuple[tuple[str, Network], ...] | None = None,
) -> Scope:
    """Return the scope of a config. ``variants`` are the options of each switch."""
    distinct = tuple(dict.fromkeys(variants or (options,)))
    return Scope(
        options=options,
        variants=distinct,
        prefixes=longest_first(options.international_prefixes),
        switches=switches,
    )
