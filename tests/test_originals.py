"""What of a row departs from its original: against values written down by hand from the papers and their code."""

import re
from pathlib import Path

import pytest
import yaml

from unike_lib.backbone_config import BackboneConfig
from unike_lib.config import load_config
from unike_lib.methods import METHOD_NAMES, resolve_method
from unike_lib.originals import (
    BACKBONE_ORIGINALS,
    KNOWLEDGE_ORIGINALS,
    METHOD_ORIGINALS,
    NEEDS,
    VARIANT_ORIGINALS,
    departure_lines,
    departures,
    rows_of_tables,
)

ROOT = Path(__file__).parents[1]
# From T-Patcher (Huang et al. 2023) and its code: margins, weights, top 5 and top 1000. n_e: UniKE, App. D.3.
NEURONS = {
    "neurons": 10,
    "key_init": "query",
    "activation_weight": 1,
    "memory_weight": 5,
    "memory_margin": -3,
    "difference_margin": 3,
    "activation_top": 5,
    "memory_top": 1000,
}
ORIGINAL = {
    "base": {},
    "fine-tune": {"steps": 15, "learning_rate": 1.5e-4},
    "t-patcher": NEURONS | {"learning_rate": 1e-2},
    # Released: 10 steps of 7.5e-4. UniKE 4.1 and D.3: top 40. Eq. 7 as it is printed.
    "unike": NEURONS
    | {"steps": 10, "learning_rate": 7.5e-4, "top_k": 40, "memory_keys": "h_sem", "alpha": "dynamic", "alpha_scale": 1}
    | {"alpha_convention": "printed", "alpha_operands": "attention_outputs", "attention": "projected", "h_pos": "last"}
    | {"zeta": "truthfulness", "shift_in_training": True, "edit_slots": False, "retrieval_temperature": None},
    # MEND as MMEdit runs it.
    "mend": {"layers": 3, "swapped": 0, "together": 1, "strength": 1, "steps": 30000, "batch": 1, "rank": 1920}
    | {"learning_rate": 1e-6, "edit_rate": 1e-4, "edit_rate_step": 1e-4, "accumulation": 2, "clip": 100}
    | {"edit_weight": 0, "text_weight": 0.1, "image_weight": 0.1, "locality_weight": 1},
    # De Cao et al. 2021, steps and floor of VLKEB.
    "ke": {"layers": 3, "swapped": 0, "together": 1, "strength": 1, "steps": 30000, "learning_rate": 3e-4, "scale": 1}
    | {"hidden": 128, "condition": 1024, "margin": 1e-3, "margin_factor": 0.8, "margin_accuracy": 0.9}
    | {"margin_floor": 1e-7, "multiplier_rate": 0.1},
    "ike": {"demonstrations": 32, "retriever": "minilm", "prompt": "mmedit"},
    # As MMEdit's toolkit ships it.
    "serac": {
        "mixture": "soft",
        "positions": "all",
        "leak_answer": False,
        "scope_layers": 6,
        "counterfactual_layers": 12,
        "learning_rate": 1e-5,
    },
}
OTHER = {
    "mixture": "hard",
    "positions": "answer",
    "prompt": "wrapped",
    "key_init": "random",
    "memory_keys": "encoded",
    "alpha": 0.4,
    "alpha_convention": "text",
    "alpha_operands": "mixture",
    "attention": "raw",
    "h_pos": "answer_mean",
    "zeta": "semantic",
    "retriever": "backbone",
    "retrieval_temperature": 0.1,
    "margin_accuracy": 0.5,
    "margin_factor": 0.5,
}


@pytest.fixture(scope="module")
def default():
    return load_config(yaml.safe_load((ROOT / "config.yaml").read_text()))


@pytest.fixture(scope="module")
def run(default):
    """A function: a run whose one row has these settings, on a backbone and knowledge as in the originals."""
    encoders = default.knowledge.encoders.model_copy(update={"held_out": 0.0, "learning_rate": 1e-4})
    knowledge = default.knowledge.model_copy(update={"memory_states": 40000, "encoders": encoders})

    def make(settings, name="row", backbone=None, **sections):
        fields = {"family": "minigpt4", "max_triplets": 20000} | (backbone or {})
        update = {"methods": {name: settings}, "backbones": {"b": BackboneConfig(**fields)}, "knowledge": knowledge}
        return default.model_copy(update=update | sections)

    return make


def fields_of(config, method="row"):
    return [departure.field for departure in departures(config, method, "b")]


def changed(value):
    """Another value of a setting: a switch turned, a number beside it."""
    if isinstance(value, bool):
        return not value
    return value / 2 if isinstance(value, float) and value < 1 else value + 1


@pytest.mark.parametrize("kind", ORIGINAL)
def test_originals_depart_nowhere_and_every_other_value_is_named(run, kind):
    settings = {"method": kind, **ORIGINAL[kind]}
    assert fields_of(run(settings)) == []
    known = set(METHOD_ORIGINALS.get(kind, {}))
    switches = {"intrinsic", "latent", "in_context", "demonstrations", "retriever", "prompt", "scope_neurons"}
    assert known - set(ORIGINAL[kind]) == (switches if kind == "unike" else {"scope_radius"} & known)
    for name, value in ORIGINAL[kind].items():
        other = {name: OTHER.get(name) or changed(value)}
        if name == "together":  # divides the batch
            other["batch"] = other[name]
        assert set(fields_of(run(settings | other))) == set(other) & known, other


def test_layers_triplets_and_states_are_settings_of_a_row_too(run, default):
    row = {"method": "unike", **ORIGINAL["unike"]}
    (layers,) = departures(run(row, backbone={"layers": (20, 21, 22, 23)}), "row", "b")
    assert layers.text == "layers 20 to 23 (UniKE 4.1: last_four)" and layers.equation
    assert departures(run(row, backbone={"layers": (3, 5)}), "row", "b")[0].value == "3, 5"
    few = departures(run(row, backbone={"max_triplets": 300}), "row", "b")
    assert [departure.text for departure in few] == ["max_triplets 300 (UniKE D.3: 15000 or more)"]
    for name, parts in (("intrin-latent-ike", {"zeta": "off"}), ("only-latent-ike", {"intrinsic": False})):
        assert fields_of(run(row | parts, name, {"max_triplets": 300}), name) == ["max_triplets"]
    patched = run(row | {"zeta": "off", "latent": False}, "only-intrin", {"max_triplets": 300})
    assert fields_of(patched, "only-intrin") == []
    assert fields_of(run(row, knowledge=default.knowledge)) == ["encoders.held_out", "memory_states"]
    patcher = {"method": "t-patcher", **ORIGINAL["t-patcher"]}
    moved = run(patcher, backbone={"layers": (1, 2), "max_triplets": 3}, knowledge=default.knowledge)
    assert fields_of(moved) == ["layers", "memory_states"]
    tuned = {"method": "fine-tune", "steps": 15, "learning_rate": 2.0e-4}
    assert fields_of(run(tuned, backbone={"layers": (1, 2)}, knowledge=default.knowledge)) == []  # FT: the last layer
    assert fields_of(run(tuned | {"learning_rate": 2.1e-4})) == ["learning_rate"]


def test_what_does_nothing_in_a_row_is_not_named(run, default):
    row = {"method": "unike", **ORIGINAL["unike"]}
    loose = {"memory_top": 3, "memory_margin": 0.0, "difference_margin": 0.0}
    assert fields_of(run(row | loose | {"memory_weight": 0.0}, knowledge=default.knowledge)) == [
        "encoders.held_out",
        "memory_weight",
    ]
    assert fields_of(run(row | {"activation_weight": 0.0, "activation_top": 3})) == ["activation_weight"]
    assert fields_of(run(row | {"alpha": 0.4, "alpha_scale": 0.1, "alpha_operands": "mixture"})) == ["alpha"]
    external = {"latent": False, "alpha_scale": 0.1, "top_k": 3, "h_pos": "answer_mean", "attention": "raw"}
    assert fields_of(run(row | external | {"shift_in_training": False})) == ["latent"]
    intrinsic = {"intrinsic": False, "steps": 3, "learning_rate": 1.0, "zeta": "random", "neurons": 4}
    assert fields_of(run(row | intrinsic | loose)) == ["intrinsic"]
    assert fields_of(run(row | {"demonstrations": 3, "retriever": "backbone", "prompt": "wrapped"})) == []
    assert fields_of(run(row | {"demonstrations": 3, "in_context": True, "retriever": "minilm"})) == [
        "in_context",
        "demonstrations",
    ]
    scoped = {"alpha": "scoped", "edit_slots": True, "retrieval_temperature": 0.1, "alpha_scale": 0.6}
    gated = run(row | scoped | {"scope_neurons": True})
    assert fields_of(gated) == ["retrieval_temperature", "edit_slots", "alpha", "scope_neurons", "alpha_scale"]


def test_a_part_of_unike_that_the_paper_has_a_row_for_is_no_departure(run):
    row = {"method": "unike", **ORIGINAL["unike"]}
    without = {"only-intrin": {"latent": False, "zeta": "off"}, "intrin-latent-ike": {"zeta": "off"}}
    without |= {"only-latent-ike": {"intrinsic": False}, "intrin-ike": {"latent": False, "zeta": "off"}}
    context = {"in_context": True, "demonstrations": 16, "retriever": "minilm"}
    assert set(VARIANT_ORIGINALS) == set(without)
    for name, parts in without.items():
        settings = row | parts | (context if name == "intrin-ike" else {})
        assert fields_of(run(settings, name), name) == []
        assert fields_of(run(settings, "mine"), "mine") != []
        assert fields_of(run(row, name), name) != []  # all of UniKE is more than its row


def test_what_changes_an_equation_comes_first(run):
    row = {"method": "unike", **ORIGINAL["unike"], "learning_rate": 0.02, "memory_weight": 0.3, "alpha_scale": 0.1}
    found = departures(run(row, backbone={"layers": (20, 21, 22, 23)}), "row", "b")
    assert [departure.equation for departure in found] == [True, True, False, False]
    assert [departure.text for departure in found] == [
        "layers 20 to 23 (UniKE 4.1: last_four)",
        "alpha_scale 0.1 (UniKE Eq. 7: 1)",
        "memory_weight 0.3 (T-Patcher: 5)",
        "learning_rate 0.02 (released: 0.00075)",
    ]


def test_a_row_has_the_settings_of_its_own_backbone(default):
    methods = {
        "u": {"method": "unike", "by_backbone": {"minigpt4-smol": {"alpha_scale": 0.25}}},
        "base": {"method": "base"},
    }
    config = default.model_copy(update={"methods": methods})
    lines = departure_lines(config, [(name, method) for name in ("blip2-nano", "minigpt4-smol") for method in methods])
    assert [line[:2] for line in lines] == [("blip2-nano", "u"), ("minigpt4-smol", "u")]
    assert "alpha_scale" not in lines[0][2] and "alpha_scale 0.25 (UniKE Eq. 7: 1)" in lines[1][2]
    assert "layers" not in lines[0][2] and lines[1][2].startswith("layers 20 to 23 ")


def test_rows_of_several_tables_come_once_backbone_by_backbone(default):
    first = default.table1.model_copy(update={"backbones": ("a", "b"), "methods": ("x",)})
    second = default.table1.model_copy(update={"backbones": ("a",), "methods": ("x", "y")})
    assert rows_of_tables([first, second]) == [("a", "x"), ("a", "y"), ("b", "x")]


def described(kind):
    """The numbers that the descriptions of a method's settings say an original has: field -> source -> number."""
    settings = resolve_method({"row": {"method": kind}}, "row")
    sources = "T-Patcher|paper|Released|MMEdit|MEND|VLKEB|SERAC|De Cao"
    pattern = rf"({sources})\b[^:;()]*: (?:Adam |\D*')?(-?\d[\d.]*(?:e-?\d+)?)(K?)"
    found = {}
    for name, field in type(settings).model_fields.items():
        for source, number, thousands in re.findall(pattern, field.description or ""):
            found.setdefault(name, {})[source] = float(number.rstrip(".")) * (1000 if thousands else 1)
    return found


@pytest.mark.parametrize("kind", sorted(METHOD_NAMES))
def test_the_descriptions_of_settings_say_the_same(kind):
    numbers = described(kind)
    assert kind in ("base", "ike") or numbers
    for name, by_source in numbers.items():
        assert name in METHOD_ORIGINALS[kind], f"{kind}.{name}: the description knows an original"
        original = METHOD_ORIGINALS[kind][name]
        named = [number for source, number in by_source.items() if source.lower() in original.source.lower()]
        assert all(original.has(number) for number in named or by_source.values()), (name, by_source)


def test_every_name_is_a_setting(default):
    assert set(METHOD_ORIGINALS) | {"base"} == METHOD_NAMES
    every = set(type(default.knowledge).model_fields) | set(BackboneConfig.model_fields)
    for kind, originals in METHOD_ORIGINALS.items():
        fields = set(type(resolve_method({"row": {"method": kind}}, "row")).model_fields)
        assert set(originals) <= fields, kind
        every |= fields
    for kinds, section in ((BACKBONE_ORIGINALS, BackboneConfig), (KNOWLEDGE_ORIGINALS, type(default.knowledge))):
        assert {name.split(".")[0] for names in kinds.values() for name in names} <= set(section.model_fields)
    named = set(NEEDS) | {name for groups in NEEDS.values() for group in groups for name in group}
    assert {name.split(".")[-1] for name in named} <= every | set(type(default.knowledge.encoders).model_fields)
    assert set(VARIANT_ORIGINALS) <= set(default.methods)
