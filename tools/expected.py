"""What Table 1 is expected to say: `write` keeps a run's numbers in docs/expected.md, `check` compares a run with them.

python -m tools.expected write results/table1.csv --commit 1a2b3c4
python -m tools.expected check results/table1.csv
"""

import argparse
import re
import sys
from pathlib import Path

import pandas as pd

PAGE = Path(__file__).parents[1] / "docs" / "expected.md"
COLUMNS = ("rel", "t_gen", "m_gen", "t_loc", "m_loc")
CELL = ("backbone", "task", "k", "method")
SLACK = 1.0  # points by which a score may leave its interval: kernels of other processors round otherwise
HEAD = """# What Table 1 is expected to say

`make results/table1.csv` is expected to give these scores: percent by `token`, with the interval. Seen last at commit
{commit}, on two cores of an x86-64 virtual machine.

`python -m tools.expected check results/table1.csv` compares your run. A score may differ, because kernels of other
processors round otherwise, but lies within the interval, or {slack:g} point beside it.

| Backbone | Task | K | Method | Rel. | T-Gen. | M-Gen. | T-Loc. | M-Loc. |
|---|---|---|---|---:|---:|---:|---:|---:|
"""


def page(table: pd.DataFrame, commit: str) -> str:
    """Return the page for a table of cells, as its CSV file has them."""
    lines = []
    for row in table.to_dict("records"):
        cells = [str(row[name]) for name in CELL]
        cells += [f"{row[name]:.1f} ({row[f'{name}_low']:.1f} to {row[f'{name}_high']:.1f})" for name in COLUMNS]
        lines.append(f"| {' | '.join(cells)} |\n")
    return HEAD.format(commit=commit, slack=SLACK) + "".join(lines)


def expected(text: str) -> dict[tuple[str, ...], list[tuple[float, float]]]:
    """Return cell -> the ends of each score's interval, from the page."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        ends = [re.fullmatch(r"[\d.]+ \(([\d.]+) to ([\d.]+)\)", cell) for cell in cells[len(CELL) :]]
        if len(cells) == len(CELL) + len(COLUMNS) and all(ends):
            found[tuple(cells[: len(CELL)])] = [(float(each[1]), float(each[2])) for each in ends if each]
    return found


def problems(table: pd.DataFrame, text: str) -> list[str]:
    """Say which expected scores a table does not have."""
    rows = {tuple(str(row[name]) for name in CELL): row for row in table.to_dict("records")}
    said = []
    for cell, ends in expected(text).items():
        if cell not in rows:
            said.append(f"{', '.join(cell)}: not in the table")
            continue
        for name, (low, high) in zip(COLUMNS, ends, strict=True):
            score = float(rows[cell][name])
            if not low - SLACK <= score <= high + SLACK:
                said.append(f"{', '.join(cell)}: {name} is {score:.1f}, expected {low:.1f} to {high:.1f}")
    return said


def main() -> int:
    """Write the page, or compare a table with it; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["write", "check"])
    parser.add_argument("table", type=Path)
    parser.add_argument("--commit", default="unknown")
    given = parser.parse_args()
    table = pd.read_csv(given.table)
    if given.what == "write":
        PAGE.write_text(page(table, given.commit))
        return 0
    found = problems(table, PAGE.read_text())
    print("\n".join(found) or f"{given.table}: all {len(expected(PAGE.read_text()))} cells are as expected")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
