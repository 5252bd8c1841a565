r"""Messages that differ in a few digits only, made at the cost of one ``%``.

In any text of a mix may stand: ``{n}``, the number of the pass through the file, so that every pass has calls of
its own; ``{n-1000}``, that of the pass so many before it, for what happens to a call later on; ``{random}``,
digits by chance; ``{seed}``, that of the run, so that runs have calls of their own. ``{n:4}``, ``{random:7}``: so
many digits, 12 where nothing is said. The width of a placeholder is fixed, so a message always has the same
length, in every encoding, and so has all that frames it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence

WIDTH = 12
MAX_WIDTH = 18
"""Digits of a placeholder."""

_PLACE = re.compile(r"\{(?P<what>n|random)(?:-(?P<behind>\d{1,7}))?(?::(?P<width>\d{1,2}))?\}")

_SEED = re.compile(r"\{seed(?::(\d{1,2}))?\}")

Render = Callable[[str, dict[str, object]], bytes]
"""Makes a message of its number, as text, and its parameters."""


class Pattern:
    """A line of a mix as bytes, but for its digits."""

    def __init__(self, render: Render, params: dict[str, object], chance: random.Random) -> None:
        """Make it; ValueError says what is wrong with a placeholder."""
        places = list(_places(params))
        behind = {int(place["behind"] or 0) for place in places if place["what"] == "n"}
        if len(behind) > 1:
            raise ValueError("{n} and {n-K} of one line have to be of the same pass")
        if any(place["behind"] for place in places if place["what"] == "random"):
            raise ValueError("{random} has nothing before it; {random} or {random:7} is wanted")
        self.behind = behind.pop() if behind else 0
        """How many passes lie between that of its call and the one it is sent in."""
        widths = [WIDTH, *(int(place["width"] or WIDTH) for place in places)]
        if not all(1 <= width <= MAX_WIDTH for width in widths):
            raise ValueError(f"a placeholder has 1 to {MAX_WIDTH} digits")
        self._template, order = _template(render, params, widths)
        self.numbered = 0 in order
        """Whether the message carries its number; otherwise answers come in the order of the messages."""
        draws = [_draw(place["what"], width, chance) for place, width in zip(places, widths[1:], strict=True)]
        self._draws = [None if index == 0 else draws[index - 1] for index in order]
        self._plain = self.numbered and all(place["what"] == "n" and not place["width"] for place in places)
        self._repeats = len(order) - 1

    def fill(self, number: int, n: int) -> bytes:
        """Return the message with this number, of the call of pass ``n``."""
        if self._plain:  # almost always, and this is done for each message
            return self._template % (number, *((n,) * self._repeats))
        return self._template % tuple([number if draw is None else draw(n) for draw in self._draws])


def seeded(params: dict[str, object], seed: int) -> dict[str, object]:
    """Return parameters in which ``{seed}`` is the seed."""

    def digits(found: re.Match[str]) -> str:
        width = int(found[1] or WIDTH)
        return f"{seed % 10**width:0{width}}"

    return _mapped(params, lambda text: _SEED.sub(digits, text))


def _places(value: object) -> Iterator[re.Match[str]]:
    """Yield the placeholders in all texts of a value; ValueError where there is something like one."""
    if isinstance(value, str):
        at = 0
        while (at := value.find("{", at)) >= 0:
            found = _PLACE.match(value, at)
            if found is None:
                raise ValueError(f"{value!r}: {{n}}, {{n-1000}}, {{n:4}}, {{random:7}} or {{seed}} is wanted")
            yield found
            at = found.end()
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _places(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _places(inner)


def _mapped(params: dict[str, object], change: Callable[[str], str]) -> dict[str, object]:
    """Return parameters with all their texts changed, in the order of :func:`_places`."""

    def mapped(value: object) -> object:
        if isinstance(value, str):
            return change(value)
        if isinstance(value, dict):
            return {name: mapped(inner) for name, inner in value.items()}
        return [mapped(inner) for inner in value] if isinstance(value, list) else value

    return {name: mapped(value) for name, value in params.items()}


def _draw(what: str, width: int, chance: random.Random) -> Callable[[int], int]:
    most = 10**width
    return (lambda n: n % most) if what == "n" else (lambda n: chance.randrange(most))


def _template(render: Render, params: dict[str, object], widths: Sequence[int]) -> tuple[bytes, list[int]]:
    """Return the bytes as a ``%`` template, and which placeholder stands at each of its places; 0 is the number.

    Where a placeholder went is seen from what changes when it does: it may stand behind another in the message
    than in the line.
    """

    def made(changed: int | None) -> bytes:
        number, *digits = [("1" if index == changed else "0") * width for index, width in enumerate(widths)]
        left = iter(digits)
        return render(number, _mapped(params, lambda text: _PLACE.sub(lambda _: next(left), text)))

    base = made(None)
    found: list[tuple[int, int]] = []
    for index in range(len(widths)):
        other = made(index)
        changes = [at for at, (one, two) in enumerate(zip(base, other, strict=True)) if one != two]
        if changes:
            found.append((changes[0], index))
    found.sort()
    parts, at = [], 0
    for start, index in found:
        parts.append(base[at:start].replace(b"%", b"%%") + b"%%0%dd" % widths[index])
        at = start + widths[index]
    parts.append(base[at:].replace(b"%", b"%%"))
    return b"".join(parts), [index for _, index in found]
