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
    number = r"([\d.e+-]+)"
    pattern = rf"^\| ([\w-]+), (B = \d+|naive) \| {number} \| {number} \| - \| (?:-|\d+%) \| {number}x \|$"
    rows = re.findall(pattern, shown, re.M)
    assert [(method, label) for method, label, *_ in rows] == [
        (method, label) for method in METHODS for label in ("naive", "B = 1", "B = 3")
    ]
    alone = {method: float(rate) for method, label, rate, _, _ in rows if label == "naive"}
    for method, _, rate, asked, ratio in rows:
        assert float(rate) > 0 and float(asked) > 0
        assert float(ratio) == pytest.approx(float(rate) / alone[method], rel=0.02, abs=0.06)
    assert "100.00% of ids as exact" in shown and "tokens per second" in shown
    assert text.replace(shown, "") == before.replace(before.split(BEGIN)[1].split(END)[0], "")


@pytest.mark.parametrize(("options", "said"), [([], "no GPU here"), (["--device", "cpu"], "expected --tiny")])
def test_without_a_gpu_nothing_of_full_size_is_run(options, said, capsys, monkeypatch):
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu.main(options)
    assert said in capsys.readouterr().err
