"""Every citation of the specification names a clause, title or phrase that exists.

The specification is docs/spec. Its links, its decisions and the mark of unbuilt parts are checked too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).resolve()
ROOT = next(folder for folder in HERE.parents if (folder / "pyproject.toml").is_file())
SPEC = ROOT / "docs" / "spec"
READ = ("identengine", "benchmarks", "tests", "docs", "README.md", "CHANGELOG.md")
"""Files and folders whose citations are checked."""
SKIPPED = {".png", ".pyc", ".gz", ".mdb", ".pem", ".so"}

_GAP = r"(?:\s(?:\s|\#|//)*)"  # a citation may span two lines of a comment
_NUMBER = r"\d+(?:\.\d+)*"
_CITATION = re.compile(
    rf"\b(?P<page>engine|interfaces)\.md{_GAP}"
    rf"(?P<numbers>{_NUMBER}(?:(?:,{_GAP}|{_GAP}and{_GAP}|{_GAP}to{_GAP}|[-\u2013]){_NUMBER}(?![\w.]*\w))*)"
    rf"(?:,{_GAP}(?:\"(?P<quoted>[^\"\n]+)\"|(?P<ticks>`+)(?P<literal>[^`\n]+)(?P=ticks)))?",
    re.IGNORECASE,
)
_ONE_OR_RANGE = re.compile(rf"({_NUMBER})(?:(?:{_GAP}to{_GAP}|[-\u2013])({_NUMBER}))?")
_HEADING = re.compile(r"^#{1,6}\s+(.*)$", re.MULTILINE)
_ANCHOR = re.compile(r'<a id="([^"]+)"></a>')
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"`?\*\(not built yet(?:: [^()]*(?:\([^()]*\)[^()]*)*)?\)\*`?")
_DECISION = re.compile(r'^\| <a id="d(\d+)"></a>D(\d+) \| ([^|]+) \| ', re.MULTILINE)


class Citation(NamedTuple):
    """One citation: the page, the clauses, and the title or phrase that it quotes, if any."""

    line: int
    text: str
    page: str
    clauses: tuple[str, ...]
    quoted: str | None = None
    literal: str | None = None


class Page:
    """A page of the specification: its clauses by number, its headings and its anchors."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.anchors = set(_ANCHOR.findall(text))
        parts = re.split(rf'(?:^|(?<=^## ))<a id="({_NUMBER})"></a>\1\.? ', text, flags=re.MULTILINE)
        self.own = dict(zip(parts[1::2], parts[2::2], strict=True))
        """Clause number to its text, up to the next number."""
        self.headings = [_plain(heading) for heading in _HEADING.findall(_FENCE.sub("", text))]
        self.slugs = {_slug(heading) for heading in self.headings}

    def clause(self, number: str) -> str:
        """Return the text of a clause or a section, with the clauses below it."""
        return "".join(text for other, text in self.own.items() if f"{other}.".startswith(f"{number}."))

    def titles(self, number: str) -> list[str]:
        """Return the titles of the headings below a section."""
        return [_plain(heading) for heading in _HEADING.findall(_FENCE.sub("", self.clause(number)))]

    def resolves(self, fragment: str) -> bool:
        """Return True if the page has this anchor."""
        return fragment in self.anchors or fragment in self.slugs


def _plain(text: str) -> str:
    return _one_line(_ANCHOR.sub("", text).replace("`", ""))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def citations(text: str) -> Iterator[Citation]:
    """Yield the citations in a text. Ranges become their clauses."""
    for found in _CITATION.finditer(text):
        clauses: list[str] = []
        for first, last in _ONE_OR_RANGE.findall(found["numbers"]):
            clauses += _range(first, last) if last else [first]
        line = text.count("\n", 0, found.start()) + 1
        cited = _one_line(found[0].replace("#", " "))
        yield Citation(
            line, cited, f"{found['page'].lower()}.md", tuple(clauses), found["quoted"], found["literal"]
        )


def _range(first: str, last: str) -> list[str]:
    """Return the clauses of a range such as 3.1-3.8 or 3 to 6, or only its ends if they differ in level."""
    head, _, begin = first.rpartition(".")
    other, _, end = last.rpartition(".")
    if head != other or int(begin) >= int(end):
        return [first, last, f"{first}-{last}"] if head == other else [first, last]
    return [f"{head}.{number}" if head else str(number) for number in range(int(begin), int(end) + 1)]


def wrong(citation: Citation, pages: dict[str, Page]) -> str | None:
    """Return the reason why a citation is wrong, or None if it is right."""
    page = pages[citation.page]
    missing = [number for number in citation.clauses if number not in page.own]
    if missing:
        return f"no clause {', '.join(missing)}"
    last = citation.clauses[-1]
    if citation.quoted is not None:
        title = _plain(citation.quoted)
        if citation.page == "interfaces.md":
            return None if title in page.titles(last) else f"section {last} has no heading {title!r}"
        return None if title in _plain(page.clause(last)) else f"clause {last} does not say {title!r}"
    if citation.literal is not None and citation.literal not in page.clause(last):
        return f"clause {last} does not name {citation.literal!r}"
    return None


def _files() -> Iterator[Path]:
    for name in READ:
        top = ROOT / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            hidden = any(part.startswith((".", "__pycache__")) for part in path.relative_to(ROOT).parts)
            if path.is_file() and path != HERE and not hidden and path.suffix not in SKIPPED:
                yield path


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


@pytest.fixture(scope="module")
def pages() -> dict[str, Page]:
    return {path.name: Page(path.read_text()) for path in SPEC.glob("*.md")}


# ---- the finder itself


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(engine.md 5.4)", [("engine.md", ("5.4",))]),
        ("x (engine.md 2, 2.5). Y", [("engine.md", ("2", "2.5"))]),
        ("(engine.md 3.1-3.3). The", [("engine.md", ("3.1", "3.2", "3.3"))]),
        ("engine.md 3.1\u20133.2", [("engine.md", ("3.1", "3.2"))]),
        ("slot (engine.md 3 to 6).", [("engine.md", ("3", "4", "5", "6"))]),
        ("engine.md 5.2, 5.8 and 5.9", [("engine.md", ("5.2", "5.8", "5.9"))]),
        ("(interfaces.md 1, engine.md 1.5, 8.1).", [("interfaces.md", ("1",)), ("engine.md", ("1.5", "8.1"))]),
        ("CODES = {  # engine.md 7: SIP, Q.850", [("engine.md", ("7",))]),
        (
            "Interfaces.md 3: integers; 1 and up (engine.md 1.2)",
            [("interfaces.md", ("3",)), ("engine.md", ("1.2",))],
        ),
        ("see engine.md 5.", [("engine.md", ("5",))]),
        ("continues (engine.md\n    8.2)", [("engine.md", ("8.2",))]),
        ("# as in engine.md\n# 8.2", [("engine.md", ("8.2",))]),
        ("engine.md 7, 250 ms", [("engine.md", ("7", "250"))]),
        ("[engine.md 5.4](engine.md#5.4)", [("engine.md", ("5.4",))]),
        ("engine.mdb 5, identengine.md 4, engine.md", []),
        ("see engine.md, 3.6 has it", []),
    ],
)
def test_a_citation_is_found_with_all_its_clauses(text: str, expected: list[tuple[str, tuple[str, ...]]]) -> None:
    assert [(found.page, found.clauses) for found in citations(text)] == expected


def test_a_citation_is_found_with_its_line_and_its_quotation() -> None:
    text = 'one\ntwo (interfaces.md 3, "Who may ask")\n(interfaces.md 6, ``/metrics``), '
    text += '(engine.md 1.7, "on first use")'
    assert list(citations(text)) == [
        Citation(2, 'interfaces.md 3, "Who may ask"', "interfaces.md", ("3",), "Who may ask"),
        Citation(3, "interfaces.md 6, ``/metrics``", "interfaces.md", ("6",), literal="/metrics"),
        Citation(3, 'engine.md 1.7, "on first use"', "engine.md", ("1.7",), "on first use"),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("engine.md 5.44", "no clause 5.44"),
        ("engine.md 5.4, 9.9", "no clause 9.9"),
        ("engine.md 3.8-3.12", "no clause 3.11, 3.12"),
        ("engine.md 6 to 12", "no clause 10, 11, 12"),
        ("engine.md 5.8-5.2", "no clause 5.8-5.2"),
        ("interfaces.md 1, engine.md 1.5, 8.11", "no clause 8.11"),
        ("interfaces.md 3.1", "no clause 3.1"),
        ('interfaces.md 3, "Who may not ask"', "section 3 has no heading 'Who may not ask'"),
        ('interfaces.md 2, "Overload"', "section 2 has no heading 'Overload'"),
        ("interfaces.md 7, ``[identity]``", "clause 7 does not name '[identity]'"),
        ('engine.md 1.7, "on second use"', "clause 1.7 does not say 'on second use'"),
    ],
)
def test_a_wrong_citation_is_noticed(text: str, reason: str, pages: dict[str, Page]) -> None:
    assert [why for found in citations(text) if (why := wrong(found, pages))] == [reason]


# ---- what is there


def test_every_citation_names_what_exists(pages: dict[str, Page]) -> None:
    mistakes = []
    count = 0
    for path in _files():
        for citation in citations(_text(path)):
            count += 1
            if reason := wrong(citation, pages):
                mistakes.append(f"{path.relative_to(ROOT)}:{citation.line}: {citation.text}: {reason}")
    assert not mistakes, "\n".join(mistakes)
    assert count > 200, "the finder misses most of the citations"


def test_the_clauses_are_numbered_without_gap_or_repeat(pages: dict[str, Page]) -> None:
    for name, first, last in (("engine.md", 1, 9), ("interfaces.md", 1, 7)):
        numbers = list(pages[name].own)
        sections = [number for number in numbers if "." not in number]
        assert sections == [str(number) for number in range(first, last + 1)], name
        for section in sections:
            below = [number for number in numbers if number.startswith(f"{section}.")]
            assert below == [f"{section}.{number}" for number in range(1, len(below) + 1)], name
        repeated = [anchor for anchor, count in Counter(_ANCHOR.findall(pages[name].text)).items() if count > 1]
        assert not repeated, f"{name}: {repeated}"


def test_clauses_that_engine_names_by_number_alone_exist(pages: dict[str, Page]) -> None:
    page = pages["engine.md"]
    named = re.findall(r"[(\s](\d\.\d+)(?=[),;:.]?[\s)])(?! s)", _ANCHOR.sub("", page.text))
    values = {"1.0", "0.5", "10.1"}  # config values and parts of an example
    assert [number for number in named if number not in page.own and number not in values] == []


def _broken(path: Path, text: str) -> Iterator[str]:
    """Yield each broken relative link of a page, with its line."""
    text = _FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), text)
    for link in _LINK.finditer(text):
        if "://" in link[1]:
            continue
        name, _, fragment = link[1].partition("#")
        there = (path.parent / name).resolve() if name else path
        if not there.exists() or (
            fragment and there.suffix == ".md" and not Page(_text(there)).resolves(fragment)
        ):
            yield f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, link.start()) + 1}: {link[1]}"


def test_links_to_the_specification_and_within_it_resolve() -> None:
    paths = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
    mistakes = [mistake for path in paths for mistake in _broken(path, _text(path))]
    assert not mistakes, "\n".join(mistakes)


def test_pages_of_docs_that_the_code_names_exist() -> None:
    """A module names a page by its path from the root, such as docs/spec/engine.md."""
    mistakes = []
    for path in _files():
        if path.suffix in (".py", ".pyx", ".c", ".toml"):
            text = _text(path)
            named = re.findall(r"(?<![\w/.])docs/[\w./-]+\.md\b", text)
            named += re.findall(r"(?<![\w/.])design\.md\b", text)  # notes that were never in this repository
            mistakes += [f"{path.relative_to(ROOT)}: {page}" for page in named if not (ROOT / page).is_file()]
    assert not mistakes, "\n".join(mistakes)


def test_a_link_that_leads_nowhere_is_noticed() -> None:
    text = "[a](engine.md#5.4) [b](decisions.md#d1)\n[c](engine.md#5.99)\n```\n[d](no.md)\n```\n[e](none.md)"
    assert list(_broken(SPEC / "README.md", text)) == [
        "docs/spec/README.md:2: engine.md#5.99",
        "docs/spec/README.md:6: none.md",
    ]


def test_the_text_of_a_link_to_a_clause_is_its_number(pages: dict[str, Page]) -> None:
    mistakes = []
    for path in sorted(SPEC.glob("*.md")):
        for text, target in re.findall(r"\[([^\[\]]+)\]\(([^()\s]+)\)", _text(path)):
            number = re.search(rf"({_NUMBER})$", text)
            fragment = target.partition("#")[2]
            if number and "#" in target and fragment not in (number[1], f"d{number[1]}"):
                mistakes.append(f"{path.relative_to(ROOT)}: [{text}]({target})")
    assert not mistakes, "\n".join(mistakes)


def test_decisions_are_numbered_consecutively_and_belong_to_clauses(pages: dict[str, Page]) -> None:
    rows = _DECISION.findall(pages["decisions.md"].text)
    assert [(int(anchor), int(number)) for anchor, number, _ in rows] == [
        (number, number) for number in range(1, len(rows) + 1)
    ]
    assert len(rows) == pages["decisions.md"].text.count('<a id="d')
    for _, number, clauses in rows:
        cited = list(citations(clauses))
        assert cited, f"D{number} names no clause"
        linked = [
            citation
            for citation in cited
            if f"(decisions.md#d{number})" in pages[citation.page].clause(citation.clauses[-1])
        ]
        assert linked, f"D{number} is not linked from {', '.join(citation.text for citation in cited)}"


def test_the_mark_of_what_is_not_built_has_one_form(pages: dict[str, Page]) -> None:
    for name in ("engine.md", "interfaces.md"):
        text = pages[name].text
        fences = "".join(_FENCE.findall(text))
        rest = _MARK.sub("", _FENCE.sub("", text)).replace("What is not built yet carries the mark", "")
        rest = rest.replace("`(not built yet)`", "")
        assert "not built" not in rest.lower(), name
        assert len(re.findall("not built", fences)) == len(
            re.findall(r"#.*\(not built yet\)$", fences, re.MULTILINE)
        )
