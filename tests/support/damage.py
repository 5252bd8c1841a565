"""Damage to the file of a store that kills its readers."""

from __future__ import annotations

from pathlib import Path

_PAGE = 4096
_LEAF = 2
"""Flag of a page with rows, in byte 10 of the page. Bytes 12 and 13 hold the end of the list of its rows."""
_LIST = 16
"""First byte of the list of rows in a page: the place of each row in the page, 2 bytes."""
_FAR = (0xFFF0).to_bytes(2, "little")
"""A place beyond the end of a small file."""


def make_deadly(data: Path, key: bytes) -> None:
    """Change the places of the rows in the pages with ``key``.

    LMDB then reads beyond the end of the file, which kills the process (SIGBUS).
    """
    content = bytearray(data.read_bytes())
    for page in range(0, len(content), _PAGE):
        if content[page + 10] == _LEAF and content.find(key, page, page + _PAGE) > 0:
            assert page + 0xFFF0 > len(content)
            end = page + int.from_bytes(content[page + 12 : page + 14], "little")
            content[page + _LIST : end] = _FAR * ((end - page - _LIST) // 2)
    data.write_bytes(content)
