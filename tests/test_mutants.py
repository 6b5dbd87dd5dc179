"""The lists of mutants fit the code as it is; running them is a command of its own (tests/mutants.py)."""

from collections import Counter

import pytest
from mutants import LISTS, Mutant, chosen, read_mutants

ROOT = LISTS.parents[1]
LEAST = 600


def test_every_mutant_is_of_a_line_that_is_there_and_has_tests():
    mutants = read_mutants()
    assert [f"{mutant}: {mutant.problem(ROOT)}" for mutant in mutants if mutant.problem(ROOT)] == []
    assert len(mutants) >= LEAST
    twice = Counter((mutant.file, mutant.was, mutant.now) for mutant in mutants)
    assert [entry for entry, count in twice.items() if count > 1] == []


ENTRY = Mutant("area", "code.py", "a + b", "a - b", ("test_code.py",), "the sign")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"file": "none.py"}, "file: no such file"),
        ({"was": "a * b"}, "found 0 times"),
        ({"was": "a"}, "found 3 times"),
        ({"now": "a + b"}, "two different texts"),
        ({"now": "a +"}, "now: not Python"),
        ({"tests": ()}, "at least one test"),
        ({"tests": ("test_code.py::test_sum", "test_none.py")}, "no such file or folder test_none.py"),
    ],
)
def test_an_entry_that_does_not_fit_is_named(tmp_path, changes, problem):
    (tmp_path / "code.py").write_text("def add(a, b):\n    return a + b\n")
    (tmp_path / "test_code.py").write_text("")
    found = Mutant(**vars(ENTRY) | changes).problem(tmp_path)
    assert problem in found and bool(found) is bool(problem)


def test_lists_have_the_fields_of_a_mutant(tmp_path):
    (tmp_path / "area.yaml").write_text("- {file: f, was: a, now: b, tests: [t.py], why: w, equivalent: it is}\n")
    (mutant,) = read_mutants(tmp_path)
    assert (mutant.area, mutant.tests, mutant.equivalent) == ("area", ("t.py",), "it is")
    assert chosen([mutant], ["area/w"]) == chosen([mutant], ["ar*"]) == chosen([mutant], []) == [mutant]
    assert chosen([mutant], ["area/other", "another"]) == []
    for line in ("- {file: f, was: a, now: b, why: w}", "- {file: f, was: 1, now: b, tests: [t], why: w}", "- text"):
        (tmp_path / "area.yaml").write_text(line)
        with pytest.raises(ValueError, match=r"area\.yaml: entry 0"):
            read_mutants(tmp_path)
