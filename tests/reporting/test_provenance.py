"""Sources of settings, versions."""

import pandas as pd
import yaml

from unike_lib.config.run import default_values, load_config
from unike_lib.config.setting_list import setting_rows
from unike_lib.config.sources import SOURCES
from unike_lib.reporting.provenance import versions


def sources(overlay):
    config = load_config(yaml.safe_load(overlay) or {})
    return pd.DataFrame(setting_rows(config.model_dump(mode="json"))).set_index("setting")


def test_the_default_run_differs_in_nothing_from_itself_and_names_its_sources():
    table = sources("")
    assert not table["changed"].any(), table[table["changed"]]
    expected = {
        "methods.unike.memory_weight": "tuned (T-Patcher: 5)",
        "methods.unike.top_k": "paper, 4.1",
        "methods.unike.by_backbone.minigpt4-smol.alpha_scale": "tuned (UniKE Eq. 7: 1)",
        "methods.only-intrin.zeta": "paper, Table 4",
        "methods.unike-paper.steps": "released",
        "methods.fine-tune.by_backbone.minigpt4-smol.learning_rate": "tuned",
        "backbones.minigpt4-smol.layers": "ours: the positive control's window (results/positive_control.md) "
        "(UniKE 4.1: last_four)",
        "benchmark.files.vqa.train": "MMEdit",
        "figures.sweeps.fig4a.vary.intrin-latent-ike.top_k": "paper, Fig. 4a",
        "seed": "ours",
    }
    assert table["source"][list(expected)].to_dict() == expected
    unnamed = set(table.index[table["source"] == ""])
    assert unnamed == {f"methods.{name}.{key}" for name, entry in default_values()["methods"].items()
                       for key in ("method", "like") if key in entry}  # fmt: skip
    assert all(source.startswith(tuple(SOURCES)) for source in table["source"] if source)
    assert (table["note"] != "").sum() > 300


def test_a_value_that_a_file_changed_is_called_so_unless_it_is_the_originals():
    table = sources(
        "{seed: 3, methods: {fine-tune: {steps: 15, weight_decay: 0.5},"
        "mine: {like: unike, top_k: 40, neurons: 3, beta: 0.2}},"
        "backbones: {mine: {family: llava, folder: x, max_triplets: 20000}}, knowledge: {memory_states: 40000}}"
    )
    changed = table[table["changed"]]
    assert changed["source"].to_dict() == {
        "seed": "changed",
        "backbones.mine.family": "changed",
        "backbones.mine.folder": "changed",
        "knowledge.memory_states": "T-Patcher",
        "methods.fine-tune.steps": "VLKEB",
        "methods.fine-tune.weight_decay": "changed",
        "methods.mine.like": "changed",
        "methods.mine.neurons": "changed (UniKE D.3: 10)",
        "methods.mine.beta": "changed",
    }
    assert table.loc["backbones.mine.max_triplets", "source"] == "ours"
    assert table.loc["methods.mine.top_k", ["value", "source"]].tolist() == ["40", "paper, 4.1"]


def test_versions_are_those_of_the_environment():
    import numpy

    assert versions()["numpy"] == numpy.__version__
