"""What edits teach beside what is written: made-up edits whose leak is known."""

import pandas as pd
import pytest
from made_up_records import make_records, with_tables

from unike_lib.config.tables import TableConfig
from unike_lib.reporting.tables import write_result_table
from unike_lib.table_parts import table_parts
from unike_lib.types import PROBE_KINDS

METHODS = ("base", "fine-tune", "t-patcher")


def says(method, token, generated, cut=0):
    """Records of a method whose scores are the same for all probes; the first `cut` answers of each kind are cut."""
    records = make_records(("left", "vqa", method)).assign(token=token, generated=generated)
    return records.assign(cut=records["case"].isin([f"vqa-{number}" for number in range(cut)]))


@pytest.fixture
def write(config, control, save, tmp_path):
    """Return a function that writes the table of these records and returns its lines."""

    def written(*records):
        rows = TableConfig(title="Mine", backbones=["left"], tasks=["vqa"], methods=METHODS[: len(records)])
        paths = [save(each, each["method"].iloc[0]) for each in records]
        out = {name: tmp_path / f"mine_{name}" for name in ("token", "generated", "markdown")}
        write_result_table({"table1": paths}, control, out, table_parts(with_tables(config, table1=rows), "table1"))
        return out["markdown"].read_text().splitlines()

    return written


def test_the_leak_of_known_edits(write):
    """One edit changes nothing, one always says the target, one forgets the end: right tokens, no written answer."""
    lines = write(says("base", 0.25, 0.0), says("fine-tune", 1.0, 1.0), says("t-patcher", 1.0, 0.0, cut=9))
    sections = [line for line in lines if line.startswith("## ")]
    assert sections[0] == "## Taught and written" and sections[1].startswith("## Criterion `token`")
    rows = {line.split(" | ")[0]: line.strip(" |").split(" | ")[1:] for line in lines if "| left, VQA, " in line}
    assert rows == {
        "| left, VQA, Base": ["25.0", "0.0", "+25.0"] * 5 + ["0 (0.0%)"],
        "| left, VQA, FT": ["100.0", "100.0", "+0.0"] * 5 + ["0 (0.0%)"],
        "| left, VQA, T-Patcher": ["100.0", "0.0", "+100.0"] * 5 + ["45 (75.0%)"],
    }
    header = next(line for line in lines if line.startswith("| Backbone, task, method"))
    assert header.count("| leak |") == 5 and "| T-Loc. token | generated | leak |" in header


def test_the_leak_is_the_difference_of_the_two_tables(write, tmp_path):
    write(make_records(("left", "vqa", "base")), make_records(("left", "vqa", "fine-tune"), shift=-0.1))
    taught, said = (pd.read_csv(tmp_path / f"mine_{name}").set_index("method") for name in ("token", "generated"))
    lines = (tmp_path / "mine_markdown").read_text().splitlines()
    found = next(line for line in lines if line.startswith("| left, VQA, FT")).strip(" |").split(" | ")[1:-1]
    for number, kind in enumerate(PROBE_KINDS):
        leak = taught.loc["fine-tune", kind] - said.loc["fine-tune", kind]
        assert abs(float(found[3 * number + 2]) - leak) <= 0.0501, kind


def test_without_generation_there_is_no_such_section(write):
    lines = write(make_records(("left", "vqa", "base"), generated=False))
    assert not [line for line in lines if "Taught and written" in line]
