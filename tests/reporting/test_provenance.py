"""Sources of settings, versions."""

import re
from pathlib import Path

import pytest
import yaml

from unike_lib.config import load_config
from unike_lib.reporting.provenance import setting_sources, source_of, versions

ROOT = Path(__file__).parents[2]
TEXT = """\
seed: 0               # ours: everything
part:                 # MMEdit: a section
  rate: 1.0e-4        # tuned: development edits (VLKEB: 2e-4)
  name: "a # b"
  inner: {x: [1, 2], y: "off"}   # paper
free: null
"""


def test_sources_come_from_the_own_comment_or_the_sections():
    effective = {"seed": 1, "part": {"rate": 1e-4, "name": "a # b", "inner": {"x": [1, 2], "y": "off"}}, "free": None}
    table = setting_sources(TEXT, effective).set_index("setting")
    assert table["source"].to_dict() == {
        "seed": "ours",
        "part.rate": "tuned",
        "part.name": "MMEdit",
        "part.inner.x": "paper",
        "part.inner.y": "paper",
        "free": "",
    }
    assert table["changed"].to_dict() == {name: name == "seed" for name in table.index}
    assert table.loc["part.rate", "note"] == "tuned: development edits (VLKEB: 2e-4)"
    assert table.loc["part.inner.x", "value"] == "[1, 2]" and table.loc["free", "value"] == "null"


@pytest.mark.parametrize(
    ("note", "source"),
    [("T-Patcher: 1", "T-Patcher"), ("ours (paper: 15K)", "ours"), ("a folder of MMEdit files", ""), ("", "")],
)
def test_a_comment_begins_with_its_source(note, source):
    assert source_of(note) == source


def test_the_default_configuration_differs_in_nothing_from_itself():
    text = (ROOT / "config.yaml").read_text()
    table = setting_sources(text, load_config(yaml.safe_load(text)).model_dump(mode="json"))
    assert not table["changed"].any(), table[table["changed"]]
    sources = table.set_index("setting")["source"]
    assert sources["methods.unike.memory_weight"] == "tuned" and sources["methods.unike.top_k"] == "paper"
    unnamed = sources[sources == ""].index
    assert all(
        re.fullmatch(r"(backbones|methods|benchmark|table\d|figures|evaluation)\..*", name) for name in unnamed
    ), unnamed


def test_versions_are_those_of_the_environment():
    import numpy

    assert versions()["numpy"] == numpy.__version__
