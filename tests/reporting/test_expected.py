"""docs/expected.md: written from a table, read again, and a table that differs is named cell by cell."""

import pandas as pd

from tools.expected import COLUMNS, PAGE, expected, page, problems


def table(**changes):
    rows = []
    for method, score in (("base", 10.0), ("unike", 90.0)):
        row = {"backbone": "blip2-nano", "task": "vqa", "k": 1, "method": method}
        for name in COLUMNS:
            row |= {name: score, f"{name}_low": score - 5, f"{name}_high": score + 5}
        rows.append(row)
    return pd.DataFrame(rows).assign(**changes)


def test_a_table_is_as_its_own_page_says():
    assert problems(table(), page(table(), "1a2b3c4")) == []
    assert len(expected(page(table(), "1a2b3c4"))) == 2


def test_what_differs_is_named():
    text = page(table(), "1a2b3c4")
    assert problems(table(m_loc=[10.0, 95.9]), text) == []
    assert problems(table(m_loc=[10.0, 96.1]), text) == [
        "blip2-nano, vqa, 1, unike: m_loc is 96.1, expected 85.0 to 95.0"
    ]
    assert problems(table(rel=[3.9, 90.0]), text) == ["blip2-nano, vqa, 1, base: rel is 3.9, expected 5.0 to 15.0"]
    assert problems(table().iloc[:1], text) == ["blip2-nano, vqa, 1, unike: not in the table"]


def test_the_page_has_every_cell_of_table_1():
    found = expected(PAGE.read_text())
    assert {cell[0] for cell in found} == {"blip2-nano", "minigpt4-smol"} and len(found) == 2 * 2 * 5
