"""The workflow as Snakemake plans it: every target, every preset, clear errors, and no more re-runs than needed."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from forked_snakemake import snakemake

from unike_lib.config.run import load_config
from unike_lib.method import paper_row, resolve_method
from unike_lib.reporting.paper_numbers import paper_cells
from unike_lib.types import InputError

ROOT = Path(__file__).parents[1]
PRESETS = sorted(file.stem for file in (ROOT / "presets").glob("*.yaml"))
TARGETS = ["all", "results/tuning.csv", "results/figures/encoder_losses.pdf"]


def planned(text):
    """Read the table of jobs: rule -> number of jobs."""
    table = text.split("Job stats:")[1].split("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def merged(base, overlay):
    """Lay an overlay over a configuration as Snakemake does: mappings are merged, everything else replaced."""
    if not isinstance(base, dict) or not isinstance(overlay, dict):
        return overlay
    return base | {key: merged(base.get(key), value) for key, value in overlay.items()}


def read(path):
    return yaml.safe_load(path.read_text())


def test_default_configuration_states_every_field():
    values = read(ROOT / "config.yaml")
    config = load_config(values)
    assert config.model_dump(exclude_unset=True) == config.model_dump()
    for name, settings in values["methods"].items():
        if "like" not in settings:
            assert set(settings) - {"by_backbone"} == set(resolve_method(config.methods, name).model_dump())


def test_every_method_is_searched_equally_long():
    config = load_config(read(ROOT / "config.yaml"))
    for grid in config.tuning.grids.values():
        combinations = 1
        for values in grid.values():
            combinations *= len(values)
        assert combinations == config.tuning.trials


# A rehearsal lies over the paper's run.
# What docs/science.md rests on has tables of its own.
OF_SCIENCE = {
    "rivals": [],
    "hundred": ["hundred"],
    "ablations": ["ablations"],
    "trained": ["trained"],
    "parts": ["parts"],
}
OVER_SCIENCE = {preset for presets in OF_SCIENCE.values() for preset in presets}
TABLE_6 = {"table6": ["table6"], "table6-first": ["table6", "table6-first"]}
STACKS = {
    "default": [],
    **{preset: [preset] for preset in PRESETS if preset not in OVER_SCIENCE | TABLE_6.keys() | {"science"}},
    "rehearsal": ["paper", "rehearsal"],
}


def stacked(names):
    """Return the configuration that presets give, each over those before it."""
    values = read(ROOT / "config.yaml")
    for name in names:
        values = merged(values, read(ROOT / "presets" / f"{name}.yaml"))
    return load_config(values)


def touch_user_files(folder, config):
    """Make the files that a configuration names, empty."""
    benchmark = config.benchmark
    if not benchmark.embedded:
        for name in (*benchmark.image_roots, benchmark.annotations):
            (folder / name).mkdir(parents=True, exist_ok=True)
        files = [
            f"{benchmark.annotations}/{name}" for pair in benchmark.files.values() for name in (pair.train, pair.eval)
        ]
        for name in (*files, *benchmark.triplet_sources):
            (folder / name).touch()


@pytest.mark.parametrize("names", STACKS.values(), ids=STACKS)
def test_every_target_is_planned(tmp_path, names):
    overlay = ["--config", f"preset={','.join(names)}"] if names else []
    config = stacked(names)
    touch_user_files(tmp_path, config)
    status, text = snakemake(tmp_path, "-n", *overlay, "--", *TARGETS)
    assert status == 0, text
    jobs, table, figures = planned(text), config.tables["table1"], config.figures
    # All tasks of a table have the same Ks: one job makes them all.
    records = {
        (backbone, rows.tasks, rows.ks, method)
        for rows in config.tables.values()
        for backbone in rows.backbones
        for method in rows.methods
    }
    records |= {(b, figures.tasks, (1,), m) for b in figures.backbones for m in figures.fig2a}
    assert jobs["records"] == len(records) * len(config.seeds)
    assert (jobs["table"], jobs["forgetting"]) == (len(config.tables), 1) and len(config.tables) == 5
    sweeps = [figures.sweep(name) for name in figures.sweeps]
    assert jobs["sweep_figure"] == len(sweeps)
    assert jobs["sweep_records"] == sum(len(s.backbones) * len(s.tasks) * len(s.vary) for s in sweeps)
    assert jobs["tuning_trials"] == len(table.backbones) * len(config.tuning.grids)
    assert jobs["benchmark"] == 1 and jobs.get("contact_sheet", 0) == config.benchmark.embedded
    shown = {name for rows in (*config.tables.values(), figures, *sweeps) for name in rows.backbones}
    assert jobs["positive_control"] == jobs["diagnostics"] == len(shown)
    made = [config.backbones[name] for name in shown if config.backbones[name].folder is None]
    assert jobs.get("pretrain", 0) + jobs.get("pretrain_smol", 0) == len(made)
    assert jobs.get("smol_weights", 0) == sum(backbone.language_model is not None for backbone in made)


@pytest.mark.parametrize("table", OF_SCIENCE)
def test_what_the_page_of_results_rests_on_is_planned(tmp_path, table):
    names = ["science", *OF_SCIENCE[table]]
    rows = stacked(names).tables[table]
    status, text = snakemake(tmp_path, "-n", "--config", f"preset={','.join(names)}", "--", f"results/{table}.csv")
    assert status == 0, text
    cells = {(backbone, method) for backbone in rows.backbones for method in rows.methods}
    assert planned(text)["records"] == len(cells) * len(stacked(names).seeds)


def test_the_papers_run_is_the_papers():
    """Cells and settings that the paper prints, and a source behind every value."""
    config = stacked(["paper"])
    families = {name: backbone.family for name, backbone in config.backbones.items()}
    assert [families[name] for name in config.tables["table1"].backbones] == ["blip2", "minigpt4"]
    for number in range(1, 5):
        table, printed = config.tables[f"table{number}"], paper_cells(f"table{number}")
        assert number == 1 or [families[name] for name in table.backbones] == ["minigpt4"]
        assert set(table.settings) == set(printed[["task", "k"]].itertuples(index=False, name=None))
        assert {paper_row(config.methods, method) for method in table.methods} == set(printed["method"])
    assert config.tables["table5"].averages == {"one-step": "table1", "sequential": "table2"}
    assert all(table.paper == name for name, table in config.tables.items())
    unike = resolve_method(config.methods, "unike")
    assert (unike.neurons, unike.top_k, unike.alpha, unike.alpha_scale) == (10, 40, "dynamic", 1.0)
    assert config.knowledge.encoders.learning_rate == 1.0e-4
    for name in config.tables["table1"].backbones:
        backbone = config.backbones[name]
        assert backbone.layers == "last_four" and backbone.max_triplets > 15000 and backbone.device == "cuda"
    lines = (ROOT / "presets" / "paper.yaml").read_text().splitlines()
    values = [line for line in lines if re.search(r"^ +\w[\w-]*: +[^{ \[]", line) and "family" not in line]
    named = re.compile(r"# .*(paper|released|MMEdit|VLKEB|T-Patcher|De Cao|MEND|SERAC|ours)")
    sections = ("backbones: null", "language_model: null", "edits: null")
    assert not [line for line in values if not named.search(line) and not line.strip().startswith(sections)]


def test_a_rehearsal_edits_twice_with_every_method_of_the_paper():
    paper, rehearsal = stacked(["paper"]), stacked(["paper", "rehearsal"])
    for name, table in rehearsal.tables.items():
        assert set(table.methods) <= set(paper.tables[name].methods)
        assert set(table.backbones) <= {"blip2-opt-2.7b"}
    assert rehearsal.tables["table1"].methods == paper.tables["table1"].methods
    assert rehearsal.evaluation.edits == 2
    big, small = (config.backbones["blip2-opt-2.7b"] for config in (paper, rehearsal))
    assert (small.layers, small.dtype, small.vqa_prompt) == (big.layers, big.dtype, big.vqa_prompt)
    for method in paper.tables["table1"].methods:
        sizes = {"neurons", "rank", "hidden", "condition", "layers", "width", "heads", "scope_layers", "top_k"}
        settings = [resolve_method(config.methods, method).model_dump(include=sizes) for config in (paper, rehearsal)]
        assert settings[0] == settings[1]


MINE = {"title": "Mine", "backbones": ["minigpt4-smol"], "methods": ["unike"]}
BAD = {
    "method": (
        {"tables": {"table1": {"methods": ["base", "unikey"]}}},
        ["tables.table1.methods", "'unikey'", "t-patcher"],
    ),
    "backbone": (
        {"tables": {"table1": {"backbones": ["blip3"]}}},
        ["tables.table1.backbones", "'blip3'", "blip2-nano"],
    ),
    "value": ({"methods": {"unike": {"alpha": 3.0}}}, ["methods.unike", "alpha"]),
    "field": ({"knowledge": {"encoders": {"epoch": 3}}}, ["knowledge.encoders.epoch"]),
    "swept field": (
        {"figures": {"sweeps": {"fig4a": {"vary": {"unike": {"top_l": [8]}}}}}},
        ["methods.unike", "top_l"],
    ),
    "swept value": (
        {"figures": {"sweeps": {"fig4b": {"vary": {"unike": {"alpha": [2.0]}}}}}},
        ["methods.unike", "alpha"],
    ),
    "swept method": ({"figures": {"sweeps": {"fig4a": {"vary": {"ikea": {"top_k": [8]}}}}}}, ["fig4a.vary", "'ikea'"]),
    "figure's backbone": ({"figures": {"backbones": ["blip3"]}}, ["figures.backbones", "'blip3'"]),
    "figure's name": (
        {"figures": {"sweeps": {"Fig 9": {"shape": "lines", "vary": {"unike": {"top_k": [8]}}}}}},
        ["Fig 9"],
    ),
    "seed twice": ({"seeds": [1, 1]}, ["seeds: expected every seed once"]),
    "session length": ({"tables": {"table2": {"ks": [0]}}}, ["tables.table2.ks.0", "expected at least 1, found 0"]),
    "odd session": ({"tables": {"table3": {"ks": [5]}}}, ["tables.table3", "ks: expected even numbers"]),
    "setting that is gone": ({"benchmark": {"hops": 2}}, ["benchmark.hops: this setting is gone", "all hops"]),
    "judge of no answers": (
        {"judge": {"folder": "here"}, "evaluation": {"generate": False}},
        ["judge.folder: expected null, or evaluation.generate and the criterion normalised"],
    ),
    "section by its old name": (
        {"admission": {"items": 3}},
        ["admission: this section has a new name", "positive_control: {"],
    ),
    "table at its old place": ({"table2": {"ks": [3]}}, ["table2: tables are entries", "tables: {table2: ...}"]),
    "table without rows": ({"tables": {"mine": {"title": "Mine"}}}, ["tables.mine", "expected backbones, methods"]),
    "table's name": ({"tables": {"a_b": MINE}}, ["tables", "'a_b' cannot name a table"]),
    "table of the paper": ({"tables": {"mine": MINE | {"paper": "table5"}}}, ["tables.mine", "table4, or null"]),
    "averages of nothing": ({"tables": {"table2": None}}, ["table5.averages: no table with cells 'table2'"]),
    "backbones that cannot": (
        {"benchmark": {"annotations": "mine", "images": "mine"}},
        [
            "backbones.blip2-nano.folder",
            *(f"tables.table{number} (" for number in range(1, 5)),
            "figures (minigpt4-smol), figures.sweeps.frontier (blip2-nano, minigpt4-smol)",
        ],
    ),
    "figure's backbone that cannot": (
        {"benchmark": {"annotations": "mine", "images": "mine"}, "backbones": {"minigpt4-smol": {"folder": "here"}}}
        | {"tables": {f"table{number}": {"backbones": ["minigpt4-smol"]} for number in range(1, 5)}},
        ["backbones.blip2-nano.folder", "are in figures.sweeps.frontier (blip2-nano)"],
    ),
    "sweep over a training": (
        {"figures": {"sweeps": {"frontier": {"vary": {"mend": {"edit_weight": [0.1, 1.0]}}}}}},
        ["figures.sweeps.frontier.vary.mend: a sweep does not train editors anew", "'edit_weight'", "'strength'"],
    ),
}


@pytest.mark.parametrize(("overlay", "words"), BAD.values(), ids=BAD)
def test_a_bad_configuration_is_one_clear_line(overlay, words):
    with pytest.raises(InputError) as error:
        load_config(merged(read(ROOT / "config.yaml"), overlay), "config.yaml + mine.yaml")
    assert str(error.value).startswith("config.yaml + mine.yaml: ")
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_a_bad_configuration_stops_before_any_job(tmp_path):
    overlay, words = BAD["method"]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(overlay))
    status, text = snakemake(tmp_path, "--configfile", tmp_path / "mine.yaml")
    assert status != 0
    assert "Job stats" not in text
    (line,) = [line for line in text.splitlines() if all(word in line for word in words)]
    assert line.startswith("config.yaml + ")
    assert "mine.yaml: " in line


@pytest.mark.parametrize(
    ("targets", "there", "expected"),
    [
        (["results/table1.csv", "results/table2_cost.md"], [], 0),
        (["results/table1.csv"], ["blip2-nano"], 1),
        (["results/table1.csv", "results/report.html"], [], 2),
        ([], [], 2),
    ],
)
def test_tables_alone_do_not_wait_for_the_positive_control(tmp_path, targets, there, expected):
    """They take what is there; whatever else is asked for makes it, and then every table reads it."""
    for name in there:
        file = tmp_path / f"results/stages/positive_control/{name}.parquet"
        file.parent.mkdir(parents=True)
        file.touch()
    status, text = snakemake(tmp_path, "-n", *(["--", *targets] if targets else []))
    assert status == 0, text
    jobs = re.search(r"^positive_control +(\d+)$", text, re.MULTILINE)
    assert (int(jobs[1]) if jobs else 0) == expected
    if expected:
        assert "stages/positive_control/blip2-nano.parquet" in re.search(r"rule table:\n.*?\n\n", text, re.DOTALL)[0]


def test_table1_alone_needs_nothing_of_the_other_tables(tmp_path):
    status, text = snakemake(tmp_path, "-n", "--", "results/table1.csv")
    assert status == 0, text
    config = load_config(read(ROOT / "config.yaml"))
    jobs, rows = planned(text), config.tables["table1"]
    assert jobs["records"] == len(rows.backbones) * len(rows.methods)
    assert not {"positive_control", "train_editor", "sweep_records", "tuning_trials", "forgetting"} & jobs.keys()


def test_the_edits_of_a_cell_are_shared_out_among_shards(tmp_path):
    """Only records are made in shards, and only those of the backbone that has some; tables and figures read them."""
    mine = tmp_path / "mine.yaml"
    mine.write_text("backbones: {minigpt4-smol: {shards: 3}}\ntables: {table1: {methods: [base, unike]}}")
    overlay = ("-n", "--configfile", mine, "--", "results/table1.csv")
    status, text = snakemake(tmp_path, *overlay)
    assert status == 0, text
    config = load_config(read(ROOT / "config.yaml"))
    jobs = planned(text)
    assert config.tables["table1"].backbones == ("blip2-nano", "minigpt4-smol")
    assert (jobs["records"], jobs["base_answers"]) == (2 * (1 + 3), 2)
    (read_by_table,) = re.findall(r"rule table:\n +input: (.+)\n", text)
    names = {
        file.split("/k1/")[1] for file in read_by_table.split(", ") if "/minigpt4-smol/eval_vqa-caption/k1/" in file
    }
    assert names == {f"{method}.{number}of3.parquet" for method in ("base", "unike") for number in (1, 2, 3)}


def test_every_seed_has_records_of_its_own_and_an_editor_where_one_is_trained(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "seeds: [0, 3]\n"
        "tables: {table1: {backbones: [blip2-nano], tasks: [vqa], methods: [unike, mend, mend-weak, mend-other]}}\n"
        "methods: {mend-weak: {like: mend, strength: 0.5}, mend-other: {like: mend, rank: 8}}"
    )
    status, text = snakemake(tmp_path, "-n", "--configfile", mine, "--", "results/table1.csv")
    assert status == 0, text
    assert (planned(text)["records"], planned(text)["train_editor"]) == (4 * 2, 2 * 2)
    jobs = re.findall(r"rule records:\n +input: (.+)\n +output: .+/k1/(\S+)\.parquet", text)
    editors = {name: re.findall(r"editors/blip2-nano/(\S+?)\.safetensors", files) for files, name in jobs}
    assert editors == {
        f"{name}{seed}": [f"{editor}{seed}"] if editor else []
        for name, editor in {"unike": "", "mend": "mend", "mend-weak": "mend", "mend-other": "mend-other"}.items()
        for seed in ("", ".seed3")
    }


def test_a_preset_lies_between_the_defaults_and_the_users_own_settings(tmp_path):
    """The smoke preset asks for one task and two methods; the user's file for three."""
    mine = tmp_path / "mine.yaml"
    mine.write_text("tables: {table1: {methods: [base, t-patcher, unike]}}")
    overlays = ("--config", "preset=smoke", "--configfile", mine, "-n", "--", "results/table1.csv")
    status, text = snakemake(tmp_path, *overlays)
    assert status == 0, text
    smoke = read(ROOT / "presets" / "smoke.yaml")
    assert planned(text)["records"] == len(smoke["tables"]["table1"]["backbones"]) * 1 * 3
    mine.write_text("evaluation: {edits: 0}")
    status, text = snakemake(tmp_path, *overlays)
    assert status != 0 and "evaluation.edits: expected at least 1, found 0" in text
    assert "presets/smoke.yaml" in text


def test_originals_are_converted_and_lavis_has_an_environment_of_its_own(tmp_path):
    files = ["blip2_pretrained_flant5xxl.pth", "eva_vit_g.pth", "pretrained_minigpt4_7b.pth"]
    overlays = ("--configfile", ROOT / "presets" / "checkpoints.yaml", "-n", "--")
    targets = ("results/stages/backbones/minigpt4-7b", "results/parity_lavis.csv")
    status, text = snakemake(tmp_path, *overlays, *targets)
    assert status != 0 and all(f"checkpoints/{file}" in text for file in files)
    for file in files:
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
        (tmp_path / "checkpoints" / file).write_text("")
    status, text = snakemake(tmp_path, *overlays, *targets)
    assert status == 0, text
    own = {"lavis_environment": 1, "lavis_reference": 1, "parity_lavis": 1}
    assert planned(text) == {"convert_backbone": 1, **own}


def test_an_unknown_preset_is_one_clear_line(tmp_path):
    status, text = snakemake(tmp_path, "-n", "--config", "preset=fast")
    assert status != 0
    assert f"preset: unknown preset 'fast'; known: {', '.join(PRESETS)}" in text.splitlines()


USER_FILES = ["vqa_train.json", "vqa_eval.json", "caption_train_edit.json", "caption_eval_edit.json"]


def user_overlay(folder, names=USER_FILES, **benchmark):
    """Make empty files and image folders of a user; return a configuration that runs every table on them."""
    for name in ("annotations", "images", "rephrased", "checkpoint"):
        (folder / name).mkdir(exist_ok=True)
    for name in names:
        (folder / "annotations" / name).touch()
    tables = {f"table{number}": {"backbones": ["real"]} for number in range(1, 5)}
    figures = {"backbones": ["real"], "sweeps": {"frontier": {"backbones": None}}}
    return {
        "benchmark": {"annotations": "annotations", "images": "images", "rephrased_images": "rephrased"} | benchmark,
        "backbones": {"real": {"family": "blip2", "folder": "checkpoint"}},
        "figures": figures,
        "tables": tables,
    }


def test_a_users_benchmark_is_planned_with_its_report_of_missing_images(tmp_path):
    (tmp_path / "more.jsonl").touch()
    overlay = user_overlay(tmp_path, triplet_sources=["more.jsonl"])
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(overlay))
    status, text = snakemake(tmp_path, "-n", "--configfile", tmp_path / "mine.yaml")
    assert status == 0, text
    assert (
        planned(text)["benchmark"] == 1 and not {"contact_sheet", "pretrain", "missing_images"} & planned(text).keys()
    )
    reads = {rule for rule, files in re.findall(r"rule (\w+):\n +input: (.+)\n", text) if "pool_sources" in files}
    assert reads == {"texts", "visual", "triplets"}
    reads = {rule for rule, files in re.findall(r"rule (\w+):\n +input: (.+)\n", text) if "counts.json" in files}
    assert reads == {"table", "report_page"}
    status, text = snakemake(tmp_path, "-n", "--configfile", tmp_path / "mine.yaml", "--", "results/missing_images.csv")
    assert status == 0 and planned(text) == {"missing_images": 1}, text


def test_a_benchmark_of_one_task_has_no_table_of_mixed_tasks(tmp_path):
    files = {"vqa": {"train": "train.json", "eval": "eval.json"}, "caption": None}
    overlay = user_overlay(tmp_path, ["train.json", "eval.json"], files=files)
    with pytest.raises(
        InputError, match=r"tables\.table1\.tasks: benchmark\.files has no task 'caption'; known: \['vqa'\]"
    ):
        load_config(merged(read(ROOT / "config.yaml"), overlay))
    vqa = {"tasks": ["vqa"]}
    tables = {name: vqa for name in ("table1", "table2", "table4")}
    overlay = merged(overlay, {"tables": tables, "figures": vqa})
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(overlay))
    status, text = snakemake(tmp_path, "-n", "--configfile", tmp_path / "mine.yaml", "--", *TARGETS)
    assert status == 0, text
    assert planned(text)["table"] == 3 + 1 and "caption" not in text and "table3" not in text


SMALL = {
    "tables": {
        "table1": {"tasks": ["vqa"], "methods": ["base", "fine-tune", "unike"]},
        "table2": {"backbones": ["blip2-nano"], "tasks": ["vqa"], "methods": ["unike"], "ks": [10]},
        "table3": {"backbones": ["blip2-nano"], "methods": ["fine-tune", "unike"]},
        "table4": {"backbones": ["blip2-nano"], "tasks": ["vqa"], "methods": ["only-intrin", "unike"]},
    },
    "figures": {
        "backbones": ["blip2-nano"],
        "tasks": ["vqa"],
        "fig2a": ["unike"],
        "sweeps": {"frontier": {"vary": {"fine-tune": None, "t-patcher": None}, "backbones": None}}
        | dict.fromkeys(["fig4a", "fig4b"]),
    },
}
PAGES = {"qualitative": 1, "report_page": 1, "all": 1}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A copy of the project in which every result of a small run is there, though empty, as if it had run."""
    root = tmp_path_factory.mktemp("project")
    for name in ("rules", "workflow_scripts", "unike_lib"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.parquet"))
    (root / "unike_lib" / "embedded" / "world" / "data" / "drawings.parquet").write_text("")
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(ROOT / name, root)
    (root / "config.yaml").write_text(yaml.safe_dump(merged(read(ROOT / "config.yaml"), SMALL)))
    text = snakemake(root, "-n", "--summary", root=root)[1]
    outputs = re.findall(r"^(results/\S+)\t", text, re.MULTILINE)
    for output in map(root.joinpath, outputs):
        output.parent.mkdir(parents=True, exist_ok=True)
        if output.suffix:
            output.write_text("\n")
        else:
            output.mkdir(exist_ok=True)
    status, text = snakemake(root, "--touch", "--forceall", root=root)
    assert status == 0, text
    return root


def planned_again(root, overlay):
    (root / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    status, text = snakemake(root, "-n", "--configfile", root / "overlay.yaml", root=root)
    assert status == 0, text
    return planned(text)


def test_a_changed_method_runs_its_own_records_again(finished):
    jobs = planned_again(finished, {"methods": {"fine-tune": {"weight_decay": 0.1}}})
    # Two records of Table 1, which Table 5 reads too, and one of Table 3.
    assert jobs == {"records": 3, "table": 3, "table_edits": 2, "joint": 1, **PAGES}


def test_a_table_that_is_added_runs_its_own_records_and_one_that_is_taken_away_runs_none(finished):
    mine = {"title": "Mine", "backbones": ["blip2-nano"], "tasks": ["vqa"], "methods": ["base", "unike"], "ks": [3]}
    jobs = planned_again(finished, {"tables": {"mine": mine}})
    assert jobs == {"records": 2, "table": 1, "table_edits": 1, "report_page": 1, "all": 1}
    one_step = {f"table{number}": None for number in (2, 3, 5)}  # nothing has sessions to forget in
    assert planned_again(finished, {"tables": one_step}) == {"report_page": 1, "all": 1}
    sessions = {f"table{number}": None for number in (1, 4, 5)}  # nor examples of single edits
    jobs = planned_again(finished, {"tables": sessions})
    assert "report_page" in jobs and not {"records", "table", "forgetting", "qualitative"} & jobs.keys()


def test_a_changed_sweep_runs_its_own_records_again(finished):
    sweeps = {"fig4c": {"vary": {"unike": {"zeta": ["off", "random"]}}}}
    jobs = planned_again(finished, {"figures": {"sweeps": sweeps}})
    assert jobs == {"sweep_records": 1, "sweep_figure": 1, "report_page": 1, "all": 1}
    jobs = planned_again(finished, {"figures": {"fig5a": {"perplexity": 5.0}}})
    assert jobs == {"fig5a": 1, "report_page": 1, "all": 1}


def test_a_new_backbone_runs_no_other_again(finished):
    new = {"family": "blip2", "vqa_prompt": "question : {} short answer :"}
    overlay = {
        "backbones": {"third": new},
        "tables": {"table1": {"backbones": ["blip2-nano", "minigpt4-smol", "third"]}},
    }
    jobs = planned_again(finished, overlay)
    assert jobs["pretrain"] == 1
    assert jobs["records"] == 3
    assert not {"benchmark", "tower_features", "contact_sheet"} & jobs.keys()


def test_an_editor_is_trained_once_and_serves_both_tasks(finished):
    rows = {"tasks": ["vqa", "caption"], "methods": ["base", "fine-tune", "unike", "mend", "ke"]}
    overlay = {"tables": {"table1": rows}}
    jobs = planned_again(finished, overlay)
    assert jobs["train_editor"] == 4  # two backbones, two methods
    assert jobs["records"] == 2 * 5  # a job makes both tasks of a method
    assert not {"pretrain", "states", "memory"} & jobs.keys()


def test_other_text_only_questions_run_again_what_asks_them(finished):
    (finished / "questions.json").write_text("[]")
    for source in ("general", "questions.json"):
        jobs = planned_again(finished, {"backbones": {"blip2-nano": {"text_locality": source}}})
        assert (jobs["base_answers"], jobs["ffn_inputs"]) == (1, 1)
        assert jobs["records"] == 3 + 1 + 2 + 1
        assert not {"pretrain", "visual", "triplets", "states", "diagnostics"} & jobs.keys()


def test_an_edit_of_the_library_runs_again_what_depends_on_it(finished):
    figures = finished / "unike_lib" / "reporting" / "figures.py"
    text = figures.read_text()
    figures.write_text(text + "\nCHANGED = True\n")
    try:
        drawn = {"sweep_figure": 3, "fig2a": 1}
        assert planned_again(finished, {"seed": 0}) == drawn | {"report_page": 1, "all": 1}
    finally:
        figures.write_text(text)


def test_demonstrations_are_an_input_of_methods_that_show_them(finished):
    overlay = {"tables": {"table1": {"methods": ["ike", "intrin-ike"]}}}
    (finished / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    status, text = snakemake(finished, "-n", "--configfile", finished / "overlay.yaml", root=finished)
    assert status == 0, text
    inputs = dict(re.findall(r"rule records:\n +input: (.+)\n +output: .+/(\S+)\.parquet", text))
    assert set(inputs.values()) == {"ike", "intrin-ike"}
    for files, method in inputs.items():
        assert "method_vqa.json" in files and "method_caption.json" in files
        assert ("ffn_inputs.parquet" in files) == (method == "intrin-ike")


def test_the_report_groups_results_and_run_json_says_what_ran(finished):
    targets = ("results/table1.csv", "results/diagnostics.csv", "results/figures/fig2a.png")
    status, text = snakemake(finished, "--report", "report.html", "--", *targets, root=finished)
    assert status == 0, text
    page = (finished / "report.html").read_text()
    groups, shown = (
        json.loads(re.search(rf'<script id="{name}">\s*var {name} = (.+);', page)[1])
        for name in ("categories", "results")
    )
    sizes = {part: len(files) for part, files in groups["Tables"].items()}
    assert (sizes["table1"], sizes["diagnostics"]) == (11, 1)
    assert len(groups["Figures"]["fig2a"]) == 2
    assert all(result["caption"] for result in shown.values())
    assert "one-step editing" in shown["results/table1.csv"]["caption"]
    run = json.loads((finished / "results" / "run.json").read_text())
    assert (run["status"], run["targets"], run["config_files"]) == ("complete", [], ["config.yaml"])


def reachable(arrows):
    """Return all pairs (earlier, later) that arrows lead between."""
    pairs = set(arrows)
    while more := {(a, d) for a, b in pairs for c, d in arrows if b == c} - pairs:
        pairs |= more
    return pairs


def test_the_picture_of_stages_is_true(tmp_path):
    drawn = re.findall(r"^ +(\w+) --> (\w+)$", (ROOT / "docs" / "workflow.md").read_text(), re.MULTILINE)
    (tmp_path / "trained.yaml").write_text(yaml.safe_dump({"tables": {"table1": {"methods": ["unike", "mend"]}}}))
    # Backbones from scratch and on a pretrained model; a method whose editor is trained.
    overlays = ("--configfile", tmp_path / "trained.yaml")
    status, text = snakemake(tmp_path, "--rulegraph", "mermaid-js", *overlays, "--", *TARGETS)
    assert status == 0, text
    names = dict(re.findall(r"^\t(id\d+)\[(\w+)\]$", text, re.MULTILINE))
    arrows = [(names[a], names[b]) for a, b in re.findall(r"^\t(id\d+) --> (id\d+)$", text, re.MULTILINE)]
    assert reachable(drawn) == reachable([arrow for arrow in arrows if arrow[1] != "all"])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("mine.yaml", "seed: 1\nthreads: 1\nseed: 2\n", "line 3: key 'seed': there already in line 1"),
        ("mine.json", '{"benchmark": {"size": 1, "size": 2}}', "field 'benchmark.size': there twice"),
    ],
)
def test_a_setting_that_a_file_says_twice_is_refused(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    status, text = snakemake(tmp_path, "-n", "--configfile", tmp_path / name)
    assert status and f"{name}: {said}; expected each key once" in text, text
