"""Blocks of README.md and docs/ run as printed, with the output that the page shows. Links lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import ROOT, docs
from support.programs import program

PAGES = docs.pages()
LINKED = [*PAGES, *(ROOT / "docs" / "spec").glob("*.md"), *(ROOT / "docs" / "decisions").glob("*.md"),
          ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]  # fmt: skip
NOT_RUN_AT_MOST = 5


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


RUN = [page for page in PAGES if docs.steps(page)]


@pytest.mark.parametrize("page", RUN, ids=name)
def test_blocks_run_as_printed(page: Path, tmp_path: Path) -> None:
    if docs.needs_namespace(page) and not docs.has_namespaces():
        pytest.skip("needs root, and the right to make namespaces")
    for needed, packages in docs.needed_programs(page):
        program(needed, packages)
    steps = docs.steps(page)
    run = docs.run_page(page, tmp_path)
    for step, output in zip(steps, run.outputs, strict=False):
        place = f"{name(page)}:{step.block.line}"
        assert docs.agrees(step, output), f"{place}\n--- shown\n{step.expected}\n--- printed\n{output}"
    last = steps[len(run.outputs) - 1]
    assert run.status == 0, f"{name(page)}:{last.block.line}\n{last.script}\n{run.outputs[-1]}"
    assert len(run.outputs) == len(steps)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_of_data_are_right(page: Path, tmp_path: Path) -> None:
    found = [
        f"{name(page)}:{block.line}: {problem}"
        for block in docs.blocks(page)
        if block.not_run is None
        for problem in docs.problems(block, tmp_path)
    ]
    assert found == []


def test_few_blocks_are_not_run() -> None:
    reasons = [block.not_run for page in PAGES for block in docs.blocks(page) if block.not_run is not None]
    assert all(reasons), "each says why"
    assert len(reasons) <= NOT_RUN_AT_MOST


@pytest.mark.parametrize("page", LINKED, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for file, anchor in docs.links(page):
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in docs.anchors(target)):
            lost.append(f"{file}#{anchor}")
    assert lost == []


# ---- the runner itself


def test_output_that_differs_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\necho one; echo two >&2\n```\n```text\none\n…\n```\n```python\nprint(2 * 3)\n```\n```text\n7\n```\n"
    )
    first, second = docs.steps(page)
    run = docs.run_page(page, tmp_path)
    assert run.status == 0
    assert docs.agrees(first, run.outputs[0])
    assert not docs.agrees(second, run.outputs[1])


def test_a_step_that_fails_ends_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\nfalse\n```\n```sh\necho more\n```\n")
    run = docs.run_page(page, tmp_path)
    assert (run.status, run.outputs) == (1, [""])


def test_output_of_nothing_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```text\n7\n```\n")
    with pytest.raises(ValueError, match=r"page\.md:1: output of nothing"):
        docs.steps(page)


def test_an_exchange_is_asked(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- setup: serve_page -->\n"
        '```json\n{"jsonrpc": "2.0", "id": 1, "method": "identify",'
        ' "params": {"src_ip": "192.0.2.5", "dst_number": "442"}}\n'
        '{"jsonrpc": "2.0", "id": 1, "result": {"accepted": true, "account_name": "acme trunk", …}}\n```\n'
        '```json\n{"jsonrpc": "2.0", "id": 2, "method": "nothing"}\n```\n'
        '```json\n{"jsonrpc": "2.0", "id": 2, "result": {…}}\n```\n'
    )
    steps = docs.steps(page)
    run = docs.run_page(page, tmp_path)
    assert run.status == 0, run
    assert [docs.agrees(*pair) for pair in zip(steps, run.outputs, strict=True)] == [True, True, False]


@pytest.mark.parametrize(
    ("shown", "found", "same"),
    [
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1, "…": "…"}, {"a": 1, "b": 2}, True),
        ({"a": "…"}, {"a": [1, 2]}, True),
        ({"a": "from … to …"}, {"a": "from 1 to 2"}, True),
        ([1, "…"], [1, 2], True),
        ([1], [1, 2], False),
        (1, True, False),
    ],
)
def test_json_is_compared_with_gaps(shown: object, found: object, same: bool) -> None:
    assert docs.matches(shown, found) is same


@pytest.mark.skipif(not docs.has_namespaces(), reason="needs root, and the right to make namespaces")
def test_a_page_for_root_changes_nothing_here(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- run: namespace -->\n```sh\n"
        "apt install nothing\nuseradd --system page-user\ninstall -d /etc/page /opt/page\n"
        "runuser -u page-user -- id -un\n"
        "```\n```text\npage-user\n```\n"
    )
    (step,) = docs.steps(page)
    run = docs.run_page(page, tmp_path)
    assert run.status == 0, run
    assert docs.agrees(step, run.outputs[0]), run
    assert not Path("/etc/page").exists()
    assert "page-user" not in Path("/etc/passwd").read_text()


def test_the_index_of_decisions_lists_every_page_once() -> None:
    index = ROOT / "docs" / "decisions" / "README.md"
    listed = sorted(str(file) for file, _ in docs.links(index) if "/" not in str(file))
    assert listed == sorted(page.name for page in index.parent.glob("*.md") if page != index)
