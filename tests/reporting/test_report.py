"""The report: self-contained, complete, and true to its tables."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from headless_browser import look, needs_browser
from made_up_records import BACKBONES
from PIL import Image

from unike_lib.config.evaluation import StatisticsConfig
from unike_lib.reporting.control_table import summarise
from unike_lib.reporting.edit_tables import write_edit_tables
from unike_lib.reporting.html_tables import plain_table, shown_table
from unike_lib.reporting.report import ReportSources, write_report
from unike_lib.reporting.tables import write_result_table
from unike_lib.table_parts import report_parts, table_parts
from unike_lib.types import InputError

ROOT = Path(__file__).parents[2]
STATISTICS = StatisticsConfig()
VOID = {"meta", "img", "br", "link", "hr"}


class Balanced(HTMLParser):
    """Collects what is wrong with the nesting of a page's elements, and its text."""

    def __init__(self):
        super().__init__()
        self.open, self.problems, self.text, self.ids = [], [], "", set()

    def handle_starttag(self, tag, attrs):
        self.ids |= {value for name, value in attrs if name == "id"}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(tag)

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def three(config):
    """A run of three tables."""
    return config.model_copy(update={"tables": {name: config.tables[name] for name in ("table1", "table2", "table5")}})


@pytest.fixture(scope="module")
def sources(table_cells, three, control, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    scores = [pd.read_parquet(path) for path in control]
    pd.concat([summarise(table, STATISTICS) for table in scores]).to_csv(folder / "positive_control.csv", index=False)
    outputs = {
        name: {
            "token": folder / f"{name}.csv",
            "mmedit": folder / f"{name}_mmedit.csv",
            "exact": folder / f"{name}_exact.csv",
            "generated": folder / f"{name}_generated.csv",
            "differences": folder / f"{name}_differences.csv",
        }
        for name in ("table1", "table2", "table5")
    }
    for name, behind in (("table1", ["table1"]), ("table2", ["table2"]), ("table5", ["table1", "table2"])):
        records = {each: table_cells[each] for each in behind}
        write_result_table(records, control, outputs[name], table_parts(three, name))
    beside = {"edits": folder / "table1_edits.csv", "cost": folder / "table1_cost.csv", "cost_page": folder / "cost.md"}
    write_edit_tables(table_cells["table1"], {}, beside, table_parts(three, "table1"))
    row = {
        "backbone": "left",
        "task": "vqa",
        "set": "taught",
        "items": 40,
        "exact": 0.9,
        "token": 0.95,
        "consistency": 1,
    }
    pd.DataFrame([row]).to_csv(folder / "diagnostics.csv", index=False)
    for name in BACKBONES:
        pd.DataFrame([{"layer": 7, "truth_auc": 0.81249}]).to_csv(folder / f"{name}.csv", index=False)
    figures = [folder / name for name in ("fig2a.png", "fig2a_mmedit.png", "qualitative.png")]
    for path in figures:
        Image.new("RGB", (20, 10)).save(path)
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks" / "table1.tsv").write_text("s\th:m:s\tmax_rss\n7.4\t0:00:07\t150\n")
    return ReportSources(
        tables=[*(path for paths in outputs.values() for path in paths.values()), beside["edits"], beside["cost"]],
        control=folder / "positive_control.csv",
        diagnostics=folder / "diagnostics.csv",
        checks={name: folder / f"{name}.csv" for name in BACKBONES},
        figures=figures,
        benchmarks=folder / "benchmarks",
    )


@pytest.fixture(scope="module")
def page(sources, three, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_report(sources, out, report_parts(three), ["**Of its 31 edits, `method` has 17 & more.**"])
    return out.read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_holds_everything(page):
    parsed = Balanced()
    parsed.feed(page)
    assert parsed.problems == [] and parsed.open == []
    anchors = set(re.findall(r'href="#(\w+)"', page))
    assert anchors and anchors <= parsed.ids
    assert set(re.findall(r'href="([^#"][^"]*)"', page)) == {"qualitative.html"}
    assert all(address.startswith("data:image/png;base64,") for address in re.findall(r'src="([^"]+)"', page))
    assert page.count("<script>") == page.count("<script") == 1 and "@import" not in page


def test_the_page_opens_with_what_the_tables_say(page):
    """Table 1 has one edit, Table 2 ten and twenty: a sentence each of the shortest and the longest sessions."""
    opening = page.split("</h1>")[1].split("</ul>")[0]
    assert opening.strip().startswith('<ul id="front">')
    assert re.findall(r"<li>(After [^,]*), UniKE", opening) == ["After one edit", "After sessions of 20 edits"]


@needs_browser
def test_a_browser_shows_the_page_and_sorts_its_tables(page, sources, tmp_path):
    """The second click on "Rel." of Table 1: from the smallest; the paper's rows stay below those they belong to."""
    table = pd.read_csv(sources.tables[0])
    click = """
  const heads = [...document.querySelector("table.sorts").tHead.rows[0].cells];
  for (const turn of [1, 2]) heads.find((each) => each.textContent === "Rel.").firstChild.click()"""
    seen = look(page, tmp_path, click)
    assert seen.console == () and seen.pictures == 3 and seen.broken == 0 and seen.beyond == 0
    head, body = seen.elements.split("</table>")[0].split("<tbody>")
    column = [re.sub("<.*?>", "", title) for title in re.findall("<th[ >].*?</th>", head)].index("Rel.")
    rows = re.findall("<tr>(.*?)</tr>", body, re.DOTALL)
    shown = [re.sub("<span.*?</span>", "", re.findall(CELL, row)[column]) for row in rows]
    assert shown == [f"{value:.1f}" for value in sorted(table["rel"])] and len(set(shown)) > 3
    assert re.findall(' aria-sort="(.*?)"', seen.elements) == ["ascending"]
    before = page.split("<tbody>")[1].split("</tbody>")[0]
    pairs = re.compile(r"<tr>(?:(?!</tr>).)*</tr>\s*<tr class=\"paper\">.*?</tr>", re.DOTALL)
    flat = [{re.sub(r">\s+<", "><", pair) for pair in pairs.findall(text)} for text in (before, seen.elements)]
    assert flat[0] and flat[0] <= flat[1]
    assert len(set(seen.shot.convert("L").getdata())) > 20  # something is drawn


CELL = r"<t[hd][^>]*>(.*?)</t[hd]>"


def test_what_is_taught_stands_beside_what_is_written(page, sources):
    """Of each table with cells: `token`, `generated` and their difference, as the two CSV files have them."""
    parts = page.split("<summary>Taught and written")[1:]
    assert len(parts) == 2  # not of Table 5, which has averages
    files = {path.stem: pd.read_csv(path) for path in sources.tables}
    for name, part in zip(("table1", "table2"), parts, strict=True):
        lines = re.findall(r"<tr[^>]*>(.*?)</tr>", part[: part.index("</details>")], re.DOTALL)
        header, *rows = (
            [re.sub(r"<.*?>", "", cell).strip() for cell in re.findall(CELL, line, re.DOTALL)] for line in lines
        )
        shown = pd.DataFrame(rows, columns=header)
        token, written = files[name], files[f"{name}_generated"]
        assert len(shown) == len(token)
        for kind in ("rel", "t_gen", "m_gen", "t_loc", "m_loc"):
            leak = [round(a - b, 1) for a, b in zip(token[kind], written[kind], strict=True)]
            assert shown[f"{kind} leak".replace("_", " ")].astype(float).tolist() == pytest.approx(leak, abs=0.0501)


def test_the_page_says_what_its_tables_say(page, sources):
    parsed = Balanced()
    parsed.feed(page)
    text = re.sub(r"\s+", " ", parsed.text)
    assert "The embedded backbones are small." in text and "Levels are not comparable with the paper's" in text
    assert "right did not pass the positive control (vqa, caption): UniKE's rows there say nothing about UniKE." in text
    assert "left did not pass" not in text
    assert "Of its 31 edits, method has 17 & more." in text
    table = pd.read_csv(sources.tables[0])
    row = table[(table["backbone"] == "left") & (table["task"] == "vqa") & (table["method"] == "t-patcher")].iloc[0]
    assert f"{row['rel']:.1f}{row['rel_low']:.1f} to {row['rel_high']:.1f}" in text
    assert "Criterion mmedit" in text and "0.812" in text
    assert page.count("data:image/png;base64,") == 3 and len(re.findall("<figure", page)) == 2
    assert "table1177150" in text
    whole = pd.read_csv(next(path for path in sources.tables if path.stem == "table1_edits"))
    shown = [f"{whole.loc[0, name]:.3f}".rstrip("0").rstrip(".") for name in ("joint", "joint_low", "joint_high")]
    assert "".join(shown) in text.replace(" ", "") and text.count("What edits cost, as measured in this run") == 1
    assert "two tables compare only where their ids agree" in text
    assert "UniKE on left: alpha_convention text (UniKE Eq. 7, unlike its 3.3 and Fig. 4b: printed)," in text
    for claim in (
        "Most methods reach",
        "Intrinsic methods have",
        "External methods have",
        "UniKE balances",
        "declines",
    ):
        assert claim in text
    assert "External methods have good generality but weak locality (4.2, iii). Here: not measured." in text
    assert "clearly in the paper's order" in text
    assert "did not pass the positive control there (below):right, VQA: UniKE, unike-paper." in text
    assert re.search(r"right, VQA: [0-2] of 2 methods clearly reach 80%", text)  # fine-tuning and T-Patcher


def test_claims_are_judged_by_the_differences_of_their_criterion(page, sources):
    differences = pd.read_csv(next(path for path in sources.tables if path.stem == "table1_differences"))
    for criterion in ("token", "mmedit"):
        rows = differences.query(f"backbone == 'left' and task == 'vqa' and criterion == '{criterion}'")
        row = rows.set_index("second").loc["t-patcher"]
        number = f"T-Patcher {row['lowest']:+.1f} ({row['lowest_low']:+.1f} to {row['lowest_high']:+.1f})"
        assert re.search(rf"left, VQA: lowest aim of UniKE minus that of [^:]*{re.escape(number)}", page)


def test_marks_intervals_and_papers_rows_are_those_of_each_table(page):
    """Sections of the page, by their headings."""
    parts = dict(part.split("</h3>", 1) for part in page.split('<h2 id="figures">')[0].split("<h3>") if "</h3>" in part)
    one, several, average = (next(text for title, text in parts.items() if f"Table {n}" in title) for n in (1, 2, 5))
    assert "<td>UniKE (control not passed)</td>" in one and "<td>T-Patcher</td>" in one
    assert "Intervals are over edits" in one and "<th>sessions</th>" not in one
    assert "Intervals are over sessions (each counts as a whole" in several and "<th>sessions</th>" in several
    assert all(f"UniKE (control not passed in {count} of 4 cells)" in average for count in (4, 2))
    for text, rows in ((one, 2 * 2 * 5), (several, 2 * 2 * 2), (average, 4 + 2)):
        criteria = re.split("<details><summary>", text)
        assert ["the paper" in criterion for criterion in criteria[:3]] == [True, True, False]  # not under exact
        assert criteria[0].count("<td>the paper</td>") == rows
        assert len(re.findall("Paired differences on the same edits", text)) == 2 and "<th>UniKE minus</th>" in text


def test_results_tables_have_the_papers_row_below_ours():
    frame = pd.DataFrame(
        [
            {"method": "unike", "k": 10, "edits": 8, "clusters": 3, "rel": 90.04, "rel_low": 80.0, "rel_high": 95.0},
            {"method": "mine", "k": 10, "edits": 8, "clusters": 3, "rel": 50.0, "rel_low": None, "rel_high": None},
        ]
    ).assign(paper_rel=[98.0, None])
    shown = shown_table(frame)
    assert (shown.labels, shown.numbers) == (("method", "k", "edits", "sessions"), ("Rel.",))
    assert not any(row.paper for row in shown_table(frame, paper=False).rows)
    assert [(row.labels[0], row.cells, row.paper) for row in shown.rows] == [
        ("UniKE", (("90.0", "80.0 to 95.0"),), False),
        ("the paper", (("98.0", ""),), True),
        ("mine", (("50.0", ""),), False),
    ]


def test_any_table_can_be_shown():
    shown = plain_table(pd.DataFrame({"rule": ["states"], "jobs": [2], "MB": [float("nan")]}))
    assert (shown.labels, shown.numbers, shown.rows[0].cells) == (("rule",), ("jobs", "MB"), (("2", ""), ("-", "")))


def test_a_report_without_one_of_its_tables_is_refused(sources, three, tmp_path):
    with pytest.raises(InputError, match=r"no table1_mmedit\.csv"):
        write_report(
            ReportSources(**{**vars(sources), "tables": sources.tables[:1]}),
            tmp_path / "report.html",
            report_parts(three),
        )
