"""Tables in LaTeX: the numbers of their CSV files, the best in bold, and a paper that compiles."""

import re
import shutil
import subprocess

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_records import METHODS

from unike_lib.reporting.latex import latex_text
from unike_lib.reporting.tables import write_result_table
from unike_lib.table_parts import table_parts
from unike_lib.types import PROBE_KINDS

NAMES = ("token", "generated")
PAPER = r"""\documentclass[twocolumn]{article}
\usepackage{booktabs}
\usepackage{siunitx}
\begin{document}
\input{table1.tex}
\end{document}
"""


@pytest.fixture(scope="module")
def written(cells, config, control, tmp_path_factory):
    folder = tmp_path_factory.mktemp("latex")
    paths = {name: folder / f"{name}.csv" for name in NAMES} | {"latex": folder / "table1.tex"}
    write_result_table({"table1": cells}, control, paths, table_parts(config, "table1"))
    return paths


def lines_of(text):
    """The rows of each block of each table: criterion -> backbone -> first cell -> the others."""
    found = {}
    for table in text.split(r"\begin{table*}")[1:]:
        blocks = found.setdefault(re.search(r"\\label\{tab:table1-(\w+)\}", table)[1], {})
        for block in table.split(r"\midrule")[1:]:
            rows = blocks.setdefault(re.search(r"\\emph\{(\w+), K = 1\}", block)[1], {})
            for line in block.splitlines():
                first, *others = line.split(r" \\")[0].split(" & ")
                if others and first.strip():
                    rows[first] = others
    return found


def test_numbers_are_those_of_the_csv_and_the_best_is_bold(written, config):
    titles = table_parts(config, "table1").titles
    found = lines_of(written["latex"].read_text())
    assert list(found) == list(NAMES)
    for criterion, blocks in found.items():
        table = pd.read_csv(written[criterion])
        for backbone, rows in blocks.items():
            tasks = [
                part.set_index("method") for _, part in table[table["backbone"] == backbone].groupby("task", sort=False)
            ]
            expected = {name: [part[kind][name] for part in tasks for kind in PROBE_KINDS] for name in METHODS}
            assert len(rows) == len(METHODS)
            for method in METHODS:
                failed = not all(part["control_passed"][method] for part in tasks)
                cells = rows[titles[method] + (r"\textsuperscript{$\dagger$}" if failed else "")]
                for place, cell in enumerate(cells):
                    number = f"{expected[method][place]:.1f}"
                    best = max(round(expected[name][place], 1) for name in METHODS if name != "base")
                    bold = method != "base" and float(number) == best
                    assert cell == (rf"\bfseries {number}" if bold else number)


def test_intervals_and_protocol_are_said(written):
    text, table = written["latex"].read_text(), pd.read_csv(written["token"])
    row = table[table["rel_low"].notna()].iloc[0]
    assert rf"{{\tiny {row['rel_low']:.1f}--{row['rel_high']:.1f}}}" in text
    assert r"its 95\% interval" in text and r"results/table1\_protocol.json" in text


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_any_text_is_only_text(text):
    """Without its escapes it is the text again, and no character that TeX reads is left."""
    shown = latex_text(text)
    names = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<", "textgreater": ">"}
    back = re.sub(r"\\(\w+)\{\}|\\([&%$#_{}])", lambda found: names[found[1]] if found[1] else found[2], shown)
    assert back == text
    assert not re.search(r"[&%$#_{}~^<>\\]", re.sub(r"\\(\w+)\{\}|\\[&%$#_{}]", "", shown))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX engine")
def test_a_paper_with_the_table_compiles(written, tmp_path):
    shutil.copy(written["latex"], tmp_path)
    (tmp_path / "paper.tex").write_text(PAPER)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert ended.returncode == 0, ended.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000 and "Overfull" not in ended.stdout
