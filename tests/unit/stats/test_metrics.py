"""/metrics as text: its form and content, and its agreement with docs, dashboard and alerts."""

from __future__ import annotations

import itertools
import json
import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from support import ROOT
from support.programs import program

from identengine.stats.file import CounterFile, Tables, bump, read
from identengine.stats.heavyhitters import HeavyHitters
from identengine.stats.malformed import OTHER, REJECTING, UNKNOWN, count_reject
from identengine.stats.metrics import CONTENT_TYPE, MOST_ROWS, exposition, names
from identengine.stats.registry import CELLS, FAMILIES, HISTOGRAMS, MALFORMED, PLACE, REGISTRY
from identengine.stats.tally import KEEP, Tally
from identengine.wire.operator import Status, Use

DOCS = ROOT / "docs"
STATUS = Status("identengine 1", 1, 2.0, 3, 4, 5, 6, 7, 8, ("there is no book yet",))
BOUNDED = {"id", "name", "switch"}
"""Labels with a value for each account or switch that is shown; all others have few."""


@pytest.fixture
def counters(tmp_path: Path) -> Iterator[CounterFile]:
    with CounterFile(tmp_path, pytest.fail) as opened:
        yield opened


def parsed(raw: bytes) -> dict[str, Metric]:
    """Return the families of an exposition by their scraped names."""
    families = list(text_string_to_metric_families(raw.decode()))
    found = {family.name + ("_total" if family.type == "counter" else ""): family for family in families}
    assert len(found) == len(families)
    return found


def value(raw: bytes, sample_name: str, /, **labels: str) -> float:
    """Return the value of one sample."""
    (found,) = (
        sample.value
        for family in parsed(raw).values()
        for sample in family.samples
        if sample.name == sample_name and sample.labels == labels
    )
    return float(found)


def shown(folder: Path, status: Status | None = STATUS, *uses: Use) -> bytes:
    return exposition(folder, status, uses, uses)


def test_conventions(tmp_path: Path, counters: CounterFile) -> None:
    raw = shown(tmp_path, STATUS, Use(1, "a", "both", 2, 3))
    for name, family in parsed(raw).items():
        assert re.fullmatch(r"identengine_[a-z_]+", name)
        assert (family.type == "counter") is name.endswith("_total"), name
        assert f"# HELP {name} ".encode() in raw
        assert f"# TYPE {name} {family.type}\n".encode() in raw
        assert family.documentation.endswith(".")
        assert not re.search(r"milli|micro|nano|kib|minutes|percent", name), "base units"
        if family.type == "histogram":
            assert name.endswith(("_seconds", "_requests"))
    series = [line.rpartition(" ")[0] for line in raw.decode().splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series))
    assert raw.endswith(b"\n")
    assert CONTENT_TYPE.startswith("text/plain; version=")


def test_each_cell_is_one_sample_and_no_other(tmp_path: Path, counters: CounterFile) -> None:
    """Each cell has a unique value, so the test detects two swapped cells."""
    for place in range(CELLS):
        counters.cells[place] = 1000 + place
    found = parsed(shown(tmp_path))
    for known in REGISTRY:
        if known.family is None:
            continue
        family = FAMILIES[known.family]
        samples = {
            tuple(sample.labels[label] for label in family.labels): sample.value
            for sample in found[f"identengine_{known.family}"].samples
        }
        for place, labels in enumerate(known.series, PLACE[known.name]):
            assert math.isclose(samples[labels], (1000 + place) * family.unit), (known.name, labels)
    for name in FAMILIES:
        cells = sum(len(known.series) for known in REGISTRY if known.family == name)
        assert len(found[f"identengine_{name}"].samples) == cells


def test_places_do_not_overlap() -> None:
    lengths = {known.name: len(known.series) for known in REGISTRY} | {one.name: one.cells for one in HISTOGRAMS}
    taken = sorted((PLACE[name], PLACE[name] + length) for name, length in lengths.items())
    assert taken[0][0] == 0
    assert taken[-1][1] == CELLS
    assert all(before[1] == after[0] for before, after in itertools.pairwise(taken))
    assert all(len(set(known.series)) == len(known.series) for known in REGISTRY)


def test_malformed_messages_by_code_and_switch(tmp_path: Path, counters: CounterFile) -> None:
    counters.write_tables(Tables(malformed={"sbc1": {-32602: 5, -32700: 2}, "unknown": {-32600: 3}}))
    raw = shown(tmp_path)
    name = "identengine_malformed_messages_total"
    assert value(raw, name, code="-32602", switch="sbc1") == 5
    assert value(raw, name, code="-32700", switch="sbc1") == 2
    assert value(raw, name, code="-32600", switch="unknown") == 3
    documented = next(
        line for line in (DOCS / "operate" / "metrics.md").read_text().splitlines() if f"`{name}`" in line
    )
    for word in (*map(str, MALFORMED), UNKNOWN, OTHER):
        assert f"`{word}`" in documented


def test_rejects_by_switch(tmp_path: Path, counters: CounterFile) -> None:
    rejected: dict[str, int] = {}
    for number in range(REJECTING + 2):
        count_reject(rejected, f"sbc{number}")
    count_reject(rejected, "sbc0")
    counters.write_tables(Tables(rejected=rejected))
    raw = shown(tmp_path)
    name = "identengine_rejected_by_switch_total"
    assert value(raw, name, switch="sbc0") == 2
    assert value(raw, name, switch=OTHER) == 2
    assert len(parsed(raw)[name].samples) == REJECTING + 1
    documented = next(
        line for line in (DOCS / "operate" / "metrics.md").read_text().splitlines() if f"`{name}`" in line
    )
    assert f"`{OTHER}` for the switches beyond the first {REJECTING}" in documented


def test_histograms(tmp_path: Path, counters: CounterFile) -> None:
    tally = Tally(counters.cells, HeavyHitters(KEEP))
    for seconds, requests in ((0.000004, 1), (0.00001, 2), (0.0003, 64), (0.7, 1), (3.0, 2000)):
        tally.decided(seconds, requests)
    raw = shown(tmp_path)
    buckets = {
        sample.labels["le"]: sample.value
        for sample in parsed(raw)["identengine_decide_seconds"].samples
        if "le" in sample.labels
    }
    assert len(buckets) == len(HISTOGRAMS[0].bounds) + 1
    assert (buckets["1e-05"], buckets["0.0002"], buckets["0.0005"], buckets["0.5"]) == (3, 3, 67, 67)
    assert (buckets["1"], buckets["+Inf"]) == (68, 2068)
    assert value(raw, "identengine_decide_seconds_count") == 2068
    wanted = 0.000004 + 2 * 0.00001 + 64 * 0.0003 + 0.7 + 2000 * 3.0
    assert math.isclose(value(raw, "identengine_decide_seconds_sum"), wanted, rel_tol=1e-6)
    assert value(raw, "identengine_batch_requests_bucket", le="1") == 2
    assert value(raw, "identengine_batch_requests_bucket", le="64") == 4
    assert value(raw, "identengine_batch_requests_count") == 5
    assert value(raw, "identengine_batch_requests_sum") == 2068


def test_the_server_away(tmp_path: Path) -> None:
    nothing = shown(tmp_path, None)
    assert value(nothing, "identengine_up") == 0
    assert "identengine_requests_total" not in parsed(nothing)
    with CounterFile(tmp_path, pytest.fail) as counters:
        counters.cells[PLACE["overcommits"]] = 5
    raw = shown(tmp_path, None)
    assert value(raw, "identengine_up") == 0
    assert value(raw, "identengine_overcommits_total") == 5
    assert "identengine_alarms" not in parsed(raw)
    assert "identengine_book_age_seconds" not in parsed(raw)


def test_what_the_server_says(tmp_path: Path, counters: CounterFile) -> None:
    raw = shown(tmp_path)
    assert value(raw, "identengine_up") == 1
    assert value(raw, "identengine_build_info", program="identengine 1") == 1
    assert value(raw, "identengine_alarms") == 1
    assert value(raw, "identengine_book_accounts") == 4
    assert value(raw, "identengine_global_capacity_legs") == 8


def test_the_fullest_are_few_and_each_stands_there_once(tmp_path: Path) -> None:
    uses = [Use(n, f"account {n}", "origination", n, 1000) for n in range(100)]
    uses += [Use(99, "account 99", "origination", 98, 1000), Use(5, "unlimited", "both", 3, None)]
    uses += [Use(7, 'a "name"\\of\ntwo lines', "termination", 5000, 1000), Use(8, None, "origination", 9, 0)]
    raw = exposition(tmp_path, None, uses, [])
    held = parsed(raw)["identengine_account_legs"].samples
    assert len(held) == MOST_ROWS
    limits = {"id": "7", "name": 'a "name"\\of\ntwo lines', "direction": "termination"}
    assert value(raw, "identengine_account_legs", **limits) == 5000
    assert value(raw, "identengine_account_limit_legs", **limits) == 1000
    assert value(raw, "identengine_account_legs", id="99", name="account 99", direction="origination") == 99
    assert value(raw, "identengine_account_limit_legs", id="8", name="", direction="origination") == 0
    few = exposition(tmp_path, None, [], uses[-3:])
    assert len(parsed(few)["identengine_client_legs"].samples) == 3
    assert len(parsed(few)["identengine_client_limit_legs"].samples) == 2, "one is unlimited"


def test_labels_are_bounded(tmp_path: Path, counters: CounterFile) -> None:
    values: dict[str, set[str]] = {}
    for family in parsed(shown(tmp_path)).values():
        for sample in family.samples:
            for label, one in sample.labels.items():
                values.setdefault(label, set()).add(one)
    assert all(len(found) <= 30 for label, found in values.items() if label not in BOUNDED), values


def test_bump_counts_in_a_file_that_another_has_mapped(tmp_path: Path, counters: CounterFile) -> None:
    bump(tmp_path, "restarts_standby")
    counters.cells[PLACE["restarts_decider"]] += 1
    bump(tmp_path, "restarts_standby")
    values = read(tmp_path).values
    assert (values["restarts_standby"], values["restarts_decider"], values["restarts_http"]) == (2, 1, 0)


@pytest.mark.parametrize("raw", [None, b"", b"something else", b"identengine/cnt\n" + b"\0" * 1000])
def test_bump_leaves_what_is_no_file_of_counters(tmp_path: Path, raw: bytes | None) -> None:
    if raw is not None:
        (tmp_path / "counters").write_bytes(raw)
    bump(tmp_path, "restarts_decider")
    assert (tmp_path / "counters").exists() == (raw is not None)
    assert raw is None or (tmp_path / "counters").read_bytes() == raw


# ---- docs, dashboard, alerts


def documented() -> dict[str, tuple[str, tuple[str, ...]]]:
    rows = re.findall(
        r"^\| `(identengine_\w+)` \| (\w+) \| ([\w, ]*)\|", (DOCS / "operate" / "metrics.md").read_text(), re.M
    )
    assert len(rows) == len({name for name, _, _ in rows})
    return {name: (kind, tuple(re.findall(r"\w+", labels))) for name, kind, labels in rows}


def test_docs_and_metrics_are_the_same(tmp_path: Path, counters: CounterFile) -> None:
    counters.cells[PLACE["book_made"]] = 1
    counters.write_tables(Tables(malformed={"sbc1": {-32602: 5}}, rejected={"sbc1": 5}))
    uses = Use(1, "a", "both", 2, 3)
    found: dict[str, tuple[str, set[str]]] = {}
    for name, family in parsed(shown(tmp_path, STATUS, uses)).items():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = family.type, labels
    assert {name: (kind, set(labels)) for name, (kind, labels) in documented().items()} == found
    assert documented() == names(), "the labels are in the order of the program"


def test_docs_name_every_value_of_a_label() -> None:
    text = (DOCS / "operate" / "metrics.md").read_text()
    for family in FAMILIES.values():
        for place, label in enumerate(family.labels):
            if label in ("reason", "method"):
                continue  # those of engine.md 7 and interfaces.md 3
            for known in REGISTRY:
                if known.family == family.name:
                    assert all(f"`{labels[place]}`" in text for labels in known.series), (family.name, label)


def named(expression: str) -> set[str]:
    """Return the metrics that an expression of Prometheus names."""
    found = set(re.findall(r"\bidentengine_\w+", expression))
    histograms = {name for name, (kind, _) in names().items() if kind == "histogram"}
    return {
        whole if (whole := re.sub(r"_(bucket|count|sum)$", "", name)) in histograms else name for name in found
    }


def labels_in(expression: str) -> set[str]:
    """Return the labels that an expression selects or groups by."""
    selected = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    groups = re.findall(r"\b(?:by|on|ignoring|without|group_left)\s*\(([^)]*)\)", expression)
    return {*selected, *(label for group in groups for label in re.findall(r"\w+", group))}


def check(expression: str) -> None:
    """Check that all metrics and labels of an expression exist."""
    metrics = named(expression)
    assert metrics, expression
    assert metrics <= names().keys(), expression
    known = {label for name in metrics for label in names()[name][1]} | {"le", "job", "instance"}
    assert labels_in(expression) <= known, expression
    for name in metrics:
        kind = names()[name][0]
        if kind == "counter":
            assert re.search(rf"(rate|increase|absent)\w*\({name}\b", expression), (
                f"{name} only grows: {expression}"
            )
        if kind == "histogram":
            assert re.search(rf"rate\({name}_(bucket|sum|count)\b", expression), expression
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing), expression


def test_alert_rules() -> None:
    rules = yaml.safe_load((DOCS / "alerts.yml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len(alerts) >= 10
    assert len({alert["alert"] for alert in alerts}) == len(alerts)
    for alert in alerts:
        assert alert.keys() == {"alert", "expr", "for", "labels", "annotations"}
        check(alert["expr"])
        assert re.fullmatch(r"\d+[smh]", alert["for"])
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert alert["annotations"].keys() == {"summary", "description"}
        assert "$labels.instance" in alert["annotations"]["summary"]
        used = set(re.findall(r"\$labels\.(\w+)", str(alert["annotations"])))
        assert used <= labels_in(alert["expr"]) | {"instance"} | all_labels(alert["expr"])
        assert alert["annotations"]["description"].endswith("."), "what to do"


def all_labels(expression: str) -> set[str]:
    """Return the labels of the result of an expression without ``by``."""
    if re.search(r"\bby\b", expression):
        return set()
    return {label for name in named(expression) for label in names()[name][1]}


def panels(dashboard: Any) -> Iterator[Any]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def test_dashboard() -> None:
    dashboard = json.loads((DOCS / "grafana" / "identengine.json").read_text())
    assert dashboard["title"] == "identengine"
    found = list(panels(dashboard))
    ids = [panel["id"] for panel in found]
    assert len(ids) == len(set(ids))
    graphs = [panel for panel in found if panel["type"] != "row"]
    assert len(graphs) >= 15
    cells: set[tuple[int, int]] = set()
    for panel in found:
        place = panel["gridPos"]
        covered = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not covered & cells, f"{panel['title']} covers another"
        assert place["x"] + place["w"] <= 24
        cells |= covered
    for panel in graphs:
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            check(target["expr"].replace("$__rate_interval", "1m"))
            assert 'instance=~"$instance"' in target["expr"]
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables.keys() == {"datasource", "instance"}
    check(variables["instance"]["query"]["query"].removeprefix("label_values(").removesuffix(", instance)"))
    told = {name for panel in graphs for target in panel["targets"] for name in named(target["expr"])}
    assert len(told) >= 30, sorted(names().keys() - told)


def test_promtool_agrees(tmp_path: Path, counters: CounterFile) -> None:
    """Prometheus' own checks: the text, the alert rules, and the expressions of the dashboard, as rules."""
    promtool = program("promtool", "prometheus")
    uses = Use(1, 'a "name"\n', "both", 2, 3)
    text = subprocess.run(
        [promtool, "check", "metrics"], input=shown(tmp_path, STATUS, uses), capture_output=True, check=False
    )
    assert (text.returncode, text.stdout, text.stderr) == (0, b"", b"")
    dashboard = json.loads((DOCS / "grafana" / "identengine.json").read_text())
    expressions = {target["expr"] for panel in panels(dashboard) for target in panel.get("targets", ())}
    rules = [
        {"record": f"panel:{number}", "expr": one.replace("$__rate_interval", "1m")}
        for number, one in enumerate(sorted(expressions))
    ]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    for file in (DOCS / "alerts.yml", tmp_path / "panels.yml"):
        checked = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr
