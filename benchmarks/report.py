"""All results in one text, with plots: ``python -m benchmarks.report [FOLDER]``.

It reads every ``*.json`` of the folder (by default the kept results) and writes ``RESULTS.md`` and the plots
there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks.results import KEPT, Results, load, markdown

ORDER = (
    "ratios",
    "interfaces",
    "against",
    "side_by_side",
    "sockets",
    "paced",
    "way",
    "growth",
    "steps",
    "memory",
    "hostile",
    "hostile_messages",
)
"""Results in the order of a reader's interest. Others follow them."""
_SIZE = (9.0, 5.0)


def write(folder: Path) -> Path:
    """Write the text and plots of a folder. Return the path of the text."""
    found = {results.name: results for results in map(load, sorted(folder.glob("*.json")))}
    if not found:
        raise SystemExit(f"{folder} holds no results")
    mpl.use("Agg")  # a backend without a screen
    plots = {
        "throughput.png": _throughput(found, folder / "throughput.png"),
        "growth.png": _growth(found, folder / "growth.png"),
        "latency.png": _latency(found, folder / "latency.png"),
    }
    names = sorted(found, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    parts = ["# Results", "", "Made by `python -m benchmarks.all`; do not edit.", ""]
    if any(results.quick for results in found.values()):
        parts += ["**A quick run**: it shows that everything works; its figures say little.", ""]
    for name, title in plots.items():
        parts += [f"![{title}]({name})", ""] if title else []
    parts += [_section(found[name]) for name in names]
    text = folder / "RESULTS.md"
    text.write_text("\n".join(parts), encoding="utf-8")
    return text


def _section(results: Results) -> str:
    machine = results.machine
    packages = ", ".join(f"{name} {number}" for name, number in machine.packages.items())
    about = f"{machine.cores} cores of {machine.processor}, {machine.memory_gib:g} GiB, {machine.system}"
    return f"{markdown(results)}\n*{results.date}; {about}; {machine.python}; {packages}.*\n"


def _throughput(found: dict[str, Results], path: Path) -> str:
    """Draw the requests per second of each server."""
    points = [
        (row.case, row.figures["rate"])
        for name in ("sockets", "side_by_side")
        if name in found
        for row in found[name].rows
        if "rate" in row.figures
    ]
    if not points:
        return ""
    points.sort(key=lambda point: point[1])
    figure, axes = pyplot.subplots(figsize=(_SIZE[0], 1.0 + 0.3 * len(points)))
    # Points instead of bars: on a logarithmic scale the length of a bar has no meaning.
    for place, (case, rate) in enumerate(points):
        axes.plot(rate, place, "o", color="tab:orange" if "engine" in case else "tab:grey")
        axes.annotate(f"{rate:,.0f}", (rate, place), (7, -3), textcoords="offset points", fontsize=8)
    axes.set_yticks(range(len(points)), [case for case, _ in points])
    axes.set_xscale("log")
    axes.set_xlabel("requests/s")
    axes.margins(x=0.2)
    axes.grid(axis="x", alpha=0.3)
    _save(figure, path)
    return "Requests a second by who answers"


def _growth(found: dict[str, Results], path: Path) -> str:
    """Draw the time of a look-up by the size of the book."""
    rows = [row for row in found["growth"].rows if "accounts" in row.figures] if "growth" in found else []
    if not rows:
        return ""
    figure, axes = pyplot.subplots(figsize=_SIZE)
    sizes = [row.figures["accounts"] for row in rows]
    for name, label in (("identify", "identify"), ("dict", "look-up in a dict of the same keys")):
        axes.plot(sizes, [row.figures[name] for row in rows], marker="o", label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("accounts")
    axes.set_ylabel("µs a request")
    axes.legend()
    axes.grid(alpha=0.3)
    _save(figure, path)
    return "Identification by the size of the book"


def _latency(found: dict[str, Results], path: Path) -> str:
    """Draw the share of answers that took longer than a given time, at half of the top rate."""
    rows = [row for row in found["paced"].rows if row.histogram][:2] if "paced" in found else []
    if not rows:
        return ""
    figure, axes = pyplot.subplots(figsize=_SIZE)
    for row in rows:
        every = left = sum(count for _, count in row.histogram)
        slower = []
        for _, count in row.histogram:
            left -= count
            slower.append(left / every)
        axes.plot([upper for upper, _ in row.histogram], slower, label=row.case, drawstyle="steps-post")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("µs since the request was due")
    axes.set_ylabel("part of the answers that took longer")
    axes.legend()
    axes.grid(alpha=0.3)
    _save(figure, path)
    return "Latency at half of the top rate, all rounds together"


def _save(figure: Figure, path: Path) -> None:
    figure.tight_layout()
    # Without date and version in it, the same figures give the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    print(write(Path(sys.argv[1]) if len(sys.argv) > 1 else KEPT))
