"""All benchmarks, one after the other, and the text and plots of their results.

``python -m benchmarks.all [--quick] [--into FOLDER] [NAME …]``. Full results are kept in ``benchmarks/results``.
Results of ``--quick`` go to a folder in it that git ignores. With names, only those benchmarks run, and the text
uses the stored results of the others.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from benchmarks import report
from benchmarks.results import KEPT

PROGRAMS = (
    "ratios",
    "interfaces",
    "steps",
    "way",
    "growth",
    "sockets",
    "paced",
    "memory",
    "hostile",
    "side_by_side",
)
"""Each program runs in its own process, so that it does not inherit the memory of another."""


def main() -> None:
    """Run the programs. If one fails, for example on a wrong answer, exit with its status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small, short trial run, for CI")
    parser.add_argument("--into", type=Path, metavar="FOLDER")
    there = [name for name in PROGRAMS if find_spec(f"benchmarks.{name}")]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(there))
    given = parser.parse_args()
    unknown = set(given.names) - set(there)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    folder: Path = given.into or (KEPT / "quick" if given.quick else KEPT)
    for name in given.names or there:
        began = time.monotonic()
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(folder / f"{name}.json")]
        ended = subprocess.run([*command, *(["--quick"] if given.quick else [])], check=False)  # noqa: S603 - ours
        if ended.returncode:
            sys.exit(ended.returncode)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    print(report.write(folder))


if __name__ == "__main__":
    main()
