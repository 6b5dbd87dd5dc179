"""bench/gpu.py end to end on a CPU, tiny: every method, every number of sessions, the table in the document."""

import gc
import re
from pathlib import Path

import pytest

from bench import gpu
from unike_lib.method import methods

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- gpu: begin -->", "<!-- gpu: end -->"
METHODS = [name for name in methods() if name != "base"]


@pytest.fixture
def few_objects():
    """Take what is imported out of the 21 collections of rubbish: most of the time went there."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("few_objects")
def test_the_benchmark_writes_a_whole_table_under_the_devices_name(tmp_path):
    before, document = (ROOT / "docs" / "performance.md").read_text(), tmp_path / "performance.md"
    document.write_text(before)
    options = ["--backbones", "blip2-opt-2.7b", "--tiny", "--device", "cpu", "--sessions", "1", "3"]
    gpu.main([*options, "--write", str(document)])
    text = document.read_text()
    shown = text.split(BEGIN)[1].split(END)[0]
    assert re.match(r"\n\n### CPU \(\w+\), tiny geometry\n", shown)
    rows = re.findall(r"^\| ([\w-]+), (B = \d+|naive) \| ([\d.e-]+) \| ([\d.e-]+) \| - \| (-|\d+%) \|$", shown, re.M)
    assert [(method, label) for method, label, *_ in rows] == [
        (method, label) for method in METHODS for label in ("B = 1", "B = 3", "naive")
    ]
    assert all(float(seconds) > 0 and float(asked) > 0 for _, _, seconds, asked, _ in rows)
    assert "100.00% of ids as exact" in shown and "tokens per second" in shown
    assert text.replace(shown, "") == before.replace(before.split(BEGIN)[1].split(END)[0], "")
