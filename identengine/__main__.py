"""``python -m identengine``: the command line."""

from identengine.cli import main

main()
