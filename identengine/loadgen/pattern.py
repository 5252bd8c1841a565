r"""Messages that differ only in a few digits, each made with one ``%`` operation.

Any text of a mix may hold these placeholders:

- ``{n}``: the number of the pass through the file. It gives every pass its own calls.
- ``{n-1000}``: the number of the pass 1,000 earlier, for a later event of a call.
- ``{random}``: random digits.
- ``{seed}``: the seed of the run. It gives every run its own calls.

``{n:4}`` and ``{random:7}`` set the number of digits, 12 by default. The width of a placeholder is fixed, so a
message and its framing have the same length on every pass, in every encoding.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence

from identengine.errors import expected

WIDTH = 12
MAX_WIDTH = 18
"""Default and largest width of a placeholder, in digits."""

_PLACE = re.compile(r"\{(?P<what>n|random)(?:-(?P<behind>\d{1,7}))?(?::(?P<width>\d{1,2}))?\}")

_SEED = re.compile(r"\{seed(?::(\d{1,2}))?\}")

Render = Callable[[str, dict[str, object]], bytes]
"""Return the bytes of a message. The arguments are its method's number as text, and its parameters."""


class Pattern:
    """A line of a mix as bytes, except for its digits."""

    def __init__(self, render: Render, params: dict[str, object], chance: random.Random) -> None:
        """Raise ValueError if a placeholder is wrong. ``chance`` makes the random digits."""
        places = list(_places(params))
        behind = {int(place["behind"] or 0) for place in places if place["what"] == "n"}
        if len(behind) > 1:
            raise ValueError("expected {n} and {n-K} of one line to name the same pass")
        if any(place["behind"] for place in places if place["what"] == "random"):
            raise ValueError("expected {random} or {random:7}, without a number of passes")
        self.behind = behind.pop() if behind else 0
        """Number of passes between the first message of the call and this one."""
        widths = [WIDTH, *(int(place["width"] or WIDTH) for place in places)]
        if not all(1 <= width <= MAX_WIDTH for width in widths):
            raise ValueError(f"expected a placeholder of 1 to {MAX_WIDTH} digits")
        self._template, order = _template(render, params, widths)
        self.numbered = 0 in order
        """True if the message carries its number. Otherwise answers arrive in the order of the messages."""
        draws = [_draw(place["what"], width, chance) for place, width in zip(places, widths[1:], strict=True)]
        self._draws = [None if index == 0 else draws[index - 1] for index in order]
        self._plain = self.numbered and all(place["what"] == "n" and not place["width"] for place in places)
        self._repeats = len(order) - 1

    def fill(self, number: int, n: int) -> bytes:
        """Return the message with this number, for the call of pass ``n``."""
        if self._plain:  # the usual case, and this runs for each message
            return self._template % (number, *((n,) * self._repeats))
        return self._template % tuple([number if draw is None else draw(n) for draw in self._draws])


def seeded(params: dict[str, object], seed: int) -> dict[str, object]:
    """Return the parameters with ``{seed}`` replaced by the seed."""

    def digits(found: re.Match[str]) -> str:
        width = int(found[1] or WIDTH)
        return f"{seed % 10**width:0{width}}"

    return _mapped(params, lambda text: _SEED.sub(digits, text))


def _places(value: object) -> Iterator[re.Match[str]]:
    """Yield the placeholders in all texts of a value. Raise ValueError if a brace begins no placeholder."""
    if isinstance(value, str):
        at = 0
        while (at := value.find("{", at)) >= 0:
            found = _PLACE.match(value, at)
            if found is None:
                raise ValueError(expected("{n}, {n-1000}, {n:4}, {random:7} or {seed}", value))
            yield found
            at = found.end()
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _places(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _places(inner)


def _mapped(params: dict[str, object], change: Callable[[str], str]) -> dict[str, object]:
    """Return the parameters with ``change`` applied to all texts, in the order of :func:`_places`."""

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
    """Return the message as a ``%`` template, and the index of the placeholder at each gap; 0 is the number.

    A placeholder's position is found by changing its digits and comparing the bytes, since an encoder may reorder
    the placeholders of a line.
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
