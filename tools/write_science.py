"""Write docs/science.md from docs/science.template.md: make science.

With a folder of results, take the numbers of its tables into docs/science/ first; without, render what is there.
"""

import argparse
from pathlib import Path

from tools.science.collect import TABLES, collect
from tools.science.numbers import Numbers
from tools.science.page import NUMBERS, PAGE, TEMPLATE, page_text


def main() -> None:
    """Write the page, and with `--results` its numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, help="the folder of results of the run")
    parser.add_argument("--commit", default="unknown", help="what made the run, as Git names it")
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES, help="to take (all)")
    given = parser.parse_args()
    if given.results is not None:
        collect(given.results, NUMBERS, given.commit, given.tables)
    PAGE.write_text(page_text(TEMPLATE.read_text(encoding="utf-8"), Numbers(NUMBERS)), encoding="utf-8")


if __name__ == "__main__":
    main()
