"""What of a row departs from its original: against values written down by hand from the papers and their code."""

import pytest

from unike_lib.config.backbones import BackboneConfig
from unike_lib.config.base import about
from unike_lib.config.originals import departure_lines, departures, rows_of_tables
from unike_lib.config.run import Config
from unike_lib.method import default_entries, methods

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
    "teach_end": False,
}
ORIGINAL = {
    "base": {},
    "fine-tune": {"steps": 15, "learning_rate": 1.5e-4, "teach_end": False, "scope": "none"},
    "t-patcher": NEURONS | {"learning_rate": 1e-2, "scope": "none"},
    # Released: 10 steps of 7.5e-4. UniKE 4.1 and D.3: top 40. Eq. 7 as it is printed.
    "unike": NEURONS
    | {"steps": 10, "learning_rate": 7.5e-4, "top_k": 40, "memory_keys": "h_sem", "alpha": "dynamic", "alpha_scale": 1}
    | {"alpha_convention": "printed", "alpha_operands": "attention_outputs", "attention": "projected", "h_pos": "last"}
    | {"zeta": "truthfulness", "shift_in_training": True, "edit_slots": False, "retrieval_temperature": None},
    # MEND as MMEdit runs it.
    "mend": {
        "teach_end": False,
        "layers": 3,
        "counterfactual_targets": 0,
        "edits_per_session": 1,
        "strength": 1,
        "steps": 30000,
        "batch_size": 1,
        "rank": 1920,
    }
    | {"learning_rate": 1e-6, "edit_rate": 1e-4, "edit_rate_step": 1e-4, "accumulation": 2, "clip": 100}
    | {"edit_weight": 0, "text_weight": 0.1, "image_weight": 0.1, "locality_weight": 1},
    # De Cao et al. 2021, steps and floor of VLKEB.
    "ke": {
        "teach_end": False,
        "layers": 3,
        "counterfactual_targets": 0,
        "edits_per_session": 1,
        "strength": 1,
        "steps": 30000,
        "learning_rate": 3e-4,
        "scale": 1,
    }
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
    "teach_end": True,
    "mixture": "hard",
    "positions": "answer",
    "prompt": "wrapped",
    "key_init": "random",
    "memory_keys": "encoded",
    "alpha": 0.4,
    "scope": "semantic",
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
    return Config()


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


def known(kind):
    """The settings of a method that have an original."""
    return {
        name
        for name in methods()[kind].settings.model_fields
        if about(methods()[kind].settings, name).original is not None
    }


def changed(value):
    """Another value of a setting: a switch turned, a number beside it."""
    if isinstance(value, bool):
        return not value
    return value / 2 if isinstance(value, float) and value < 1 else value + 1


@pytest.mark.parametrize("kind", ORIGINAL)
def test_originals_depart_nowhere_and_every_other_value_is_named(run, kind):
    settings = {"method": kind, **ORIGINAL[kind]}
    assert fields_of(run(settings)) == []
    switches = {"intrinsic", "latent", "in_context", "demonstrations", "retriever", "prompt"}
    assert known(kind) - set(ORIGINAL[kind]) == (switches if kind == "unike" else {"scope_radius"} & known(kind))
    for name, value in ORIGINAL[kind].items():
        other = {name: OTHER.get(name) or changed(value)}
        if name == "edits_per_session":  # divides the batch
            other["batch_size"] = other[name]
        assert set(fields_of(run(settings | other))) == set(other) & known(kind), other


def test_layers_triplets_and_states_are_settings_of_a_row_too(run, default):
    row = {"method": "unike", **ORIGINAL["unike"]}
    (layers,) = departures(run(row, backbone={"layers": (20, 21, 22, 23)}), "row", "b")
    assert layers.text == "layers 20 to 23 (UniKE 4.1: last_four)" and layers.equation
    assert departures(run(row, backbone={"layers": (3, 4)}), "row", "b")[0].value == "3 to 4"
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
    tuned = {"method": "fine-tune", "steps": 15, "learning_rate": 2.0e-4, "teach_end": False}
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
    entries = run(row | {"edit_slots": True, "retrieval_temperature": 0.1, "alpha_scale": 0.6})
    assert fields_of(entries) == ["retrieval_temperature", "edit_slots", "alpha_scale"]


def test_a_part_of_unike_that_the_paper_has_a_row_for_is_no_departure(run):
    row = {"method": "unike", **ORIGINAL["unike"]}
    without = {"only-intrin": {"latent": False, "zeta": "off"}, "intrin-latent-ike": {"zeta": "off"}}
    without |= {"only-latent-ike": {"intrinsic": False}, "intrin-ike": {"latent": False, "zeta": "off"}}
    context = {"in_context": True, "demonstrations": 16, "retriever": "minilm"}
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
    first = default.tables["table1"].model_copy(update={"backbones": ("a", "b"), "methods": ("x",)})
    second = default.tables["table1"].model_copy(update={"backbones": ("a",), "methods": ("x", "y")})
    assert rows_of_tables([first, second]) == [("a", "x"), ("a", "y"), ("b", "x")]


def test_every_name_is_a_setting(default):
    """What must be on for a setting to act, and what rows rest on outside of the method."""
    places = {"backbone": default.backbones["blip2-nano"], "knowledge": default.knowledge}
    for kind in (method.settings for method in methods().values()):
        needs = [name for field in known_originals(kind) for name in field.needs]
        for place, names in kind.rests_on.items():
            needs += [need for each in names.values() for need in each]
            for name in names:
                *parts, last = name.split(".")
                section = places[place]
                for part in parts:
                    section = getattr(section, part)
                assert about(type(section), last).original is not None, name
        fields = {name for method in methods().values() for name in method.settings.model_fields}
        assert {name for need in needs for name in need.split("|")} <= fields
    for entry in default_entries().values():
        assert set(entry.originals) <= set(methods()["unike"].settings.model_fields)


def known_originals(kind):
    found = [about(kind, name).original for name in kind.model_fields]
    return [original for original in found if original is not None]
