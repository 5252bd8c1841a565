"""Words: docstrings, comments, messages, help texts and docs avoid phrases that read as translated.

Readers stumbled over these phrases, and this test keeps them from returning. Each has a better one next to it.
The list is a floor: a text without them is not yet a good text (CONTRIBUTING.md, "Prose"). A line that must use a
phrase, as a quotation does, carries ``words: ok``.

The test also holds rules of form. Docstrings begin with a verb or a noun, and sentences are short. A message of
several sentences ends each with a full stop (:func:`identengine.errors.sentences`).
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = ("identengine", "tests", "benchmarks", "noxfile.py")
DOCS = ("docs", "benchmarks", "README.md", "CONTRIBUTING.md", "CHANGELOG.md")
LONGEST_SENTENCE = 25
"""Words of a sentence in a docstring, a comment or a page. Aim at 20."""

BANNED = {
    r"\b(is|are|was|were) wanted\b": "expected X, got Y",
    r"\b(is|are|was) meant\b": "did you mean X?",
    r"(?<!there )\b(is|are) (?-i:none)\b|\bhere is none\b": "not a X; no X",
    r"\black(s|ed)?\b": "has no; is missing",
    r"\bby now\b": "already; so far",
    r"\bso many\b": "at most N; that number of",
    r"\bbeside(s)?\b": "next to; in addition to",
    r"\btill\b": "until",
    r"\bnobody\b": "no one; or name the subject",
    r"\bwho(so)?ever\b|\bwhatever\b": "name the subject",
    r"\bwhich of them\b|\bwhat of it\b": "name the subject",
    r"\bbe it\b|\bto be had\b|\bfor ever\b": "plain words",
    r"\bgoes on\b|\bgo on\b|\bwent on\b|\bgoing on\b": "continue",
    r"\bstands? (there|here|in it|beside|below|above|still)\b|\bas (it|they) stands?\b": "is, appears",
    r"\bsays? so\b|\bsaid so\b": "report, name",
    r"\bis to be\b|\bare to be\b": "must be; will be",
    r"\bmend(s|ed|ing)?\b": "repair, fix",
    r"\btells? apart\b|\btold apart\b": "distinguish",
    r"\bof (its|their|our|your) own accord\b|\bby itself alone\b": "plain words",
    r"\bsomebody\b|\bsomebody's\b": "name the subject",
    r"\bno matter (what|who|how)\b": "plain words",
    r"\bthere is no telling\b|\bin one go\b": "plain words",
    r"\bmuch the same\b|\bmore of it\b": "plain words",
    r"\bperhaps\b": "may",
    r"\bmay well\b|\bmight well\b": "can",
    r"\bfrom then on\b|\bfrom there on\b": "afterwards",
    r"\bby itself\b": "automatically; alone",
    r"\banew\b": "again",
    r"\b(takes?|took|taken|taking) up (?!to\b)": "load; start; occupy",
    r"\blets? in\b|\bletting in\b": "admit, accept",
    r"\bturn(s|ed|ing)? away\b": "reject, refuse",
    r"\bsuch a one\b|\bsuch ones\b": "name the subject",
    r"\bput(s|ting)? aside\b": "rename, move",
    r"\bas a rule\b": "usually",
    r"\bin vain\b": "without success; name the result",
    r"\bmakes? good for\b": "compensate",
    r"\b(is|are|was|were) told\b": "receive, learn; name the actor",
    r"\bhangs? on\b": "depend on; refer to",
    r"\bcomes? of\b": "result from",
    r"\bgives? out\b": "fail; run out",
    r"\bof it[.;:,]?$": "name the subject",
    r"\bwhat is (left|not)\b(?! (built yet|there yet))": "the rest; name the subject",
    r"\bto tell \w+ from\b": "distinguish",
    r"\bgoes by\b": "pass; follow; is named",
    r"\bas (it|they) came\b": "as received, unchanged",
    r"\b(two|another|each|most) looks\b|\bsignal to end\b": "check; signal to stop",
    r"\ball else\b": "everything else; any other X",
    r"\bwritings? of\b": "spelling of",
    r"\bsteers?\b": "control",
    r"\bfor good\b": "permanently",
    r"\bon purpose\b": "deliberately",
    r"\bin hand\b|\bat hand\b": "current",
    r"\bas if nothing\b": "plain words",
    r"\bdear\b": "expensive",
    r"\bwont\b|\bsuch as is\b|\bthe like\b|\band suchlike\b": "plain words",
}
"""Pattern to what is better."""
OPENINGS = {
    r"Whether\b": "True if …",
    r"(What|Who|Whose|Whom|Which|Whatever|How|Where|When)\b": "a noun, or a verb",
    r"(Say|Says|Tell|Tells|Give|Gives)\b": "Return, Raise, Report",
    r"(\w+ )?[Rr]aises\b": "Raise X if Y.",
}
"""Beginnings of a docstring to what is better. A question in a test is fine."""

STRINGS = (tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1))
"""From Python 3.12 on, the text of an f-string is a token of its own."""


def texts(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, kind (docstring, comment, string, page) and text of all prose in one file."""
    source = path.read_text()
    if path.suffix != ".py":
        fenced = False
        for number, line in enumerate(source.splitlines(), 1):
            if line.lstrip().startswith("```"):
                fenced = not fenced
            elif not fenced:
                yield number, "page", line
        return
    docstrings = set()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for each in body if isinstance(body, list) else ():
            if (
                isinstance(each, ast.Expr)
                and isinstance(each.value, ast.Constant)
                and isinstance(each.value.value, str)
            ):
                docstrings.add(each.value.lineno)
                yield each.value.lineno, "docstring", each.value.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], "comment", token.string.lstrip("#: ")
        elif token.type in STRINGS and token.start[0] not in docstrings and " " in token.string:
            yield token.start[0], "string", token.string


def faults(path: Path) -> list[str]:
    """Return what is against the rules in one file, a line each."""
    found = []
    lines = path.read_text().splitlines()
    for start, kind, text in texts(path):
        for offset, line in enumerate(text.splitlines() or [""]):
            number = start + offset
            if number <= len(lines) and "words: ok" in lines[number - 1]:
                continue
            plain = re.sub(r"`+[^`]*`+", "``", line) if kind != "string" else line
            for pattern, better in BANNED.items():
                found += [
                    f"{number}: {match[0]!r}: rather: {better}"
                    for match in re.finditer(pattern, plain, re.IGNORECASE)
                ]
        if kind == "docstring":
            for pattern, better in OPENINGS.items():
                if opening := re.match(pattern, text):
                    found.append(f"{start}: docstring begins {opening[0]!r}: rather: {better}")
        if kind in ("docstring", "comment"):
            found += [f"{start}: {len(one.split())} words: {one[:70]}…" for one in _sentences(text)]
    if path.suffix == ".md":
        found += [f"{number}: {len(one.split())} words: {one[:70]}…" for number, one in _of_page(path.read_text())]
    return found


def _sentences(text: str) -> list[str]:
    """Return the sentences that are too long."""
    plain = re.sub(r"`+[^`]*`+", "X", text)
    parts = re.split(r"(?<=[.!?:;])\s+|\n\s*\n|\n\s*[-*|] ", plain)
    return [part.strip() for part in parts if len(part.split()) > LONGEST_SENTENCE]


def _of_page(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each sentence of a page that is too long; a cell of a table is text by itself."""
    text = re.sub(r"^```.*?^```", lambda fence: "\n" * fence[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    number = 1
    for paragraph in re.split(r"(\n\s*\n|\n(?=\s*(?:[-*|#]|\d+\.) ?)|\|)", text):
        for one in _sentences(paragraph):
            yield number, one
        number += paragraph.count("\n")


def files() -> list[Path]:
    """Return all files with prose, except this one and what benchmarks write."""
    found: set[Path] = set()
    for top in CODE:
        found |= {ROOT / top} if top.endswith(".py") else set((ROOT / top).rglob("*.py"))
    for top in DOCS:
        found |= {ROOT / top} if top.endswith(".md") else set((ROOT / top).rglob("*.md"))
    found -= {Path(__file__).resolve(), *(ROOT / "benchmarks" / "results").rglob("*.md")}
    return sorted(found)


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of each string that is not a docstring; the text has an X for each value in it."""
    parts: set[ast.AST] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr):
            parts.add(node.value)
        elif node not in parts and isinstance(node, ast.JoinedStr):
            parts |= set(ast.walk(node))
            yield (
                node.lineno,
                "".join(str(one.value) if isinstance(one, ast.Constant) else "X" for one in node.values),
            )
        elif node not in parts and isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_follows_the_rules(path: Path) -> None:
    assert faults(path) == []


def test_each_of_several_sentences_ends_with_a_full_stop() -> None:
    """A help text ends with its example, and a config of the demo with its last key."""
    unfinished = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in (ROOT / "identengine").rglob("*.py")
        for line, text in messages(path)
        if re.search(r"\w[\w)\]`\"'…]\. [A-Z`]", text) and not re.search(r"[.?:]\s*$|\n", text)
    ]
    assert unfinished == []


if __name__ == "__main__":
    wanted = [Path(name).resolve() for name in sys.argv[1:]]
    for one in [each for each in files() if not wanted or any(each.is_relative_to(top) for top in wanted)]:
        for fault in faults(one):
            print(f"{one.relative_to(ROOT)}:{fault}")
