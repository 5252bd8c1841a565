"""Descriptions of classes and their members, read from the docstrings in the source. No I/O.

The interpreter drops a docstring that follows a field or an enum member, so the source is parsed again. Citations
of the specification are removed, since readers of the API do not have it.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from functools import cache

_CITATION = re.compile(r"\s*\((?:engine|interfaces)\.md [^()]*(?:\([^()]*\)[^()]*)*\)")

_SENTENCE = re.compile(r"See (?:engine|interfaces)\.md [\d., ]*\d\.\s*")


def plain(text: str) -> str:
    """Return a docstring as Markdown, without citations of the specification."""
    text = _SENTENCE.sub("", _CITATION.sub("", inspect.cleandoc(text)))
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text).replace("``", "`")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


@cache
def member_docs(kind: type) -> dict[str, str]:
    """Return the description of each field or enum member of a class and its bases, by name."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.partition(".")[0] == "identengine":
            found |= _own_docs(base)
    return found


def _own_docs(kind: type) -> dict[str, str]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)  # noqa: S101 - tells mypy what the source of a class is
    found = {}
    for member, after in zip(tree.body, tree.body[1:], strict=False):
        target = _name_of(member)
        if target and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[target] = plain(str(after.value.value))
    return found


def _name_of(member: ast.stmt) -> str | None:
    """Return the name that a statement assigns or annotates, or None if it does neither."""
    if isinstance(member, ast.AnnAssign):
        target: ast.expr = member.target
    elif isinstance(member, ast.Assign) and len(member.targets) == 1:
        target = member.targets[0]
    else:
        return None
    return target.id if isinstance(target, ast.Name) else None
