"""Which split each rule reads, over the whole DAG: evaluation files feed evaluation alone.

The tables below are written by hand from the protocol of the paper (and MMEdit's): triplets, their states and the
memory losses come from the pool, editors and demonstrations from the method-training edits, settings, early stopping
and the positive control from the development edits, and nothing but scores from the evaluation. A new rule must be put
into them.
"""

import ast
import re
from pathlib import Path

import pytest
import yaml
from declared_jobs import fake_library, made_up_job, run_script
from forked_snakemake import snakemake

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "workflow_scripts").glob("*.py"))
SPLITS = ("taught", "pool", "method", "dev", "eval")
TASKS = ("vqa", "caption")
OWN = "the split in the job's own name"

# What a rule opens by itself: benchmark files, pictures, frozen states, answers and records of these splits.
OPENS = {
    "benchmark": set(),
    "tower_features": {"training"},
    "pretrain": {"training"},
    "smollm_wheel": set(),
    "smollm": set(),
    "smol_weights": {"training"},
    "pretrain_smol": set(),
    "visual": {OWN},
    "near_probes": {OWN},
    "frozen": {OWN},
    "base_answers": {OWN},
    "triplets": {"pool"},
    "states": {"pool"},
    "ffn_inputs": {"pool"},
    "encoders": set(),
    "memory": set(),
    "encodings": set(),
    "scope_states": {OWN},
    "scope": {"pool", "dev"},
    "scope_eval": {"eval"},
    "scope_table": {"eval"},
    "scope_figure": set(),
    "train_editor": {"method", "dev"},
    "positive_control": {"dev"},
    "tuning_trials": {"dev"},
    "records": {"eval"},
    "sweep_records": {"eval"},
    "diagnostics": {"taught", "eval"},
    "contact_sheet": {"eval"},
    "qualitative": {"eval"},
    "table": {"eval"},
    "table_edits": {"eval"},
    "fig2a": {"eval"},
    "forgetting": {"eval"},
    "joint": set(),
    "sweep_figure": set(),
    "fig5a": set(),
    "encoder_losses": set(),
    "retention_visual": {"taught", "eval"},
    "retention_records": {"taught", "eval"},
    "retention": set(),
    "retention_cost": set(),
    "judge_answers": {"eval"},
    "judge": set(),
    "positive_control_table": set(),
    "diagnostics_table": set(),
    "tuning": set(),
    "report_page": set(),
    "all": set(),
}  # fmt: skip
# And what else may have come to it through other rules, the making of the backbone left out.
KNOWS_BESIDES = {
    "encoders": {"pool"},
    "memory": {"pool"},
    "encodings": {"pool"},
    "fig5a": {"pool"},
    "scope_eval": {"pool", "dev"},
    "scope_table": {"pool", "dev"},
    "scope_figure": {"pool", "dev", "eval"},
    "encoder_losses": {"pool"},
    "positive_control": {"pool"},
    "positive_control_table": {"pool", "dev"},
    "tuning": {"pool", "method", "dev"},
    "diagnostics_table": {"taught", "eval"},
    "qualitative": {"pool", "method", "dev"},
    "table": {"pool", "method", "dev"},
    "table_edits": {"pool", "method", "dev"},
    "joint": {"pool", "method", "dev", "eval"},
    "fig2a": {"pool"},
    "forgetting": {"pool"},
    "retention": {"taught", "pool", "eval"},
    "retention_cost": {"taught", "pool", "eval"},
    "judge_answers": {"pool", "method", "dev"},
    "judge": {"pool", "method", "dev", "eval"},
    "sweep_figure": {"pool", "eval"},
    "report_page": set(SPLITS),
    "all": set(SPLITS),
}
# A method's own needs, in records, sweeps and the search.
OF_METHOD = {
    "base": set(),
    "fine-tune": set(),
    "t-patcher": {"pool"},
    "unike": {"pool"},
    "unike-scope": {"pool", "dev"},  # development edits choose the layer of its scope
    "mend": {"method", "dev"},
    "ke": {"method", "dev"},
    "serac": {"method", "dev"},
    "serac-multimodal": {"method", "dev"},
    "liveedit": {"method", "dev"},
    "ike": {"method"},
    "intrin-ike": {"pool", "method"},
    "lora": set(),
    "m-ore": set(),
    "grace": set(),
    "grace-balanced": {"method"},
    "wise": {"method"},
}
OPENED_BY_METHOD = {name: {"method"} for name in ("ike", "intrin-ike", "wise", "grace-balanced")}
OPENED_BY_TRAINING = {"mend", "ke", "serac", "serac-multimodal", "liveedit"}  # a search trains them for each trial
# These open pictures, which lie in one folder whatever their split.
PICTURES = {"tower_features", "visual", "retention_visual", "contact_sheet", "qualitative"}
# Scripts that give the benchmark's folder, not a file, to the library.
GIVE_FOLDER = {"draw_contact_sheet", "extract_tower_features", "pretrain", "train_smol"}
# Not part of the embedded benchmark's DAG: converting and comparing checkpoints, checking a user's files.
ELSEWHERE = {"convert_backbone", "missing_images", "texts", "lavis_environment", "lavis_reference", "parity_lavis"}
EVALUATION = {rule for rule in OPENS if "eval" in OPENS[rule] | KNOWS_BESIDES.get(rule, set())}

EDITING = ("records", "retention_records", "sweep_records", "tuning_trials")

OVERLAY = {
    "tables": {"table1": {"backbones": ["minigpt4-nano", "minigpt4-smol"], "methods": list(OF_METHOD)}},
    "figures": {"sweeps": {"frontier": {"vary": {"mend": None}}}},
    "judge": {"folder": "results/stages/language_models/smollm2-135m"},
}
TARGETS = ("all", "results/tuning.csv", "results/retention_cost.csv", "results/figures/encoder_losses.pdf")


def split_of(file):
    """Return the split that a file's name carries; None: it carries none."""
    if file.endswith("benchmark/training.parquet"):
        return "training"
    names, tasks = "|".join(SPLITS), "|".join((*TASKS, "cross"))
    by_task = rf"/(?:benchmark|(?:tiers|frozen|base|records)/[^/]+)/({names})_(?:{tasks})(?:-(?:{tasks}))*[./]"
    pattern = rf"{by_task}|/(?:visual|scope)/[^/]+/({names})\."
    found = re.search(pattern, file)
    return found and (found[1] or found[2])


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """All jobs as Snakemake plans them: rule, wildcards, inputs in their declared order, outputs."""
    folder = tmp_path_factory.mktemp("splits")
    (folder / "mine.yaml").write_text(yaml.safe_dump(OVERLAY))
    status, text = snakemake(
        folder, "-n", "--config", "preset=smoke", "--configfile", folder / "mine.yaml", "--", *TARGETS
    )
    assert status == 0, text
    found = []
    for block in re.split(r"^(?:local)?rule ", text, flags=re.MULTILINE)[1:]:
        lines = dict(re.findall(r"^    (input|output|wildcards): (.+)$", block, re.MULTILINE))
        files = {name: lines[name].split(", ") if name in lines else [] for name in ("input", "output")}
        wildcards = dict(part.split("=") for part in lines.get("wildcards", "").split(", ") if part)
        found.append({"rule": re.match(r"\w+", block)[0], "wildcards": wildcards, **files})
    assert len(found) == int(re.search(r"^total +(\d+)$", text, re.MULTILINE)[1])
    return found


def opened(job):
    return {split_of(file) for file in job["input"]} - {None}


def expected_opened(job):
    rule, names = job["rule"], job["wildcards"]
    own = {names["split"] if split == OWN else split for split in OPENS[rule]}
    if rule in EDITING:
        own = own | OPENED_BY_METHOD.get(names["method"], set())
    if rule == "tuning_trials" and names["method"] in OPENED_BY_TRAINING:
        own = own | {"method"}
    return own


def ancestry(jobs):
    """Return, for each job, the splits of all files that it or any job before it opened."""
    maker = {file: job for job in jobs for file in job["output"]}
    known = {}

    def of(job):
        key = job["rule"], *job["wildcards"].values()
        if key not in known:
            # The benchmark's own job writes all splits: what is taken from it is said by the files' names.
            before = [maker[file] for file in job["input"] if file in maker and maker[file]["rule"] != "benchmark"]
            known[key] = opened(job).union(*map(of, before))
        return known[key]

    return [of(job) for job in jobs]


def test_every_rule_has_a_line_in_the_table(jobs):
    text = "".join(file.read_text() for file in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")])
    assert set(re.findall(r"^ *rule (\w+):", text, re.MULTILINE)) == OPENS.keys() | ELSEWHERE
    assert {job["rule"] for job in jobs} == OPENS.keys()
    methods = {job["wildcards"]["method"] for job in jobs if job["rule"] == "records"}
    assert methods == OF_METHOD.keys()


def test_every_rule_opens_the_splits_of_the_protocol_alone(jobs):
    for job in jobs:
        assert opened(job) == expected_opened(job), (job["rule"], job["wildcards"])
        pictures = any(file.endswith("benchmark/images") for file in job["input"])
        assert pictures == (job["rule"] in PICTURES), job["rule"]


def test_nothing_else_reaches_a_rule_through_those_before_it(jobs):
    """Exactly so for everything that is trained, chosen or scored; reports may know all that tables know."""
    for job, found in zip(jobs, ancestry(jobs), strict=True):
        rule, names = job["rule"], job["wildcards"]
        allowed = expected_opened(job) | KNOWS_BESIDES.get(rule, set())
        if rule in EDITING:
            allowed = allowed | OF_METHOD[names["method"]]
        found = found - ({"training"} if rule not in ("tower_features", "pretrain", "smol_weights") else set())
        if rule in (
            "table",
            "table_edits",
            "joint",
            "judge_answers",
            "judge",
            "qualitative",
            "fig2a",
            "forgetting",
            "sweep_figure",
            "report_page",
            "all",
        ):
            assert found <= allowed, (rule, names)
        else:
            assert found == allowed, (rule, names)


def test_evaluation_files_feed_evaluation_rules_alone(jobs):
    of_evaluation = EVALUATION | {"visual", "near_probes", "scope_states", "frozen", "base_answers"}
    for job, found in zip(jobs, ancestry(jobs), strict=True):
        if "eval" in found:
            assert job["rule"] in of_evaluation and job["wildcards"].get("split", "eval") == "eval", job["rule"]
    trained = {"triplets", "states", "ffn_inputs", "encoders", "memory", "scope", "train_editor", "tuning_trials"}
    assert not EVALUATION & (trained | {"positive_control"})


def benchmark_files(job):
    """Return the names of the benchmark files among a job's inputs, in their order."""
    return [Path(file).stem for file in job["input"] if re.search(r"benchmark/\w+\.json$", file)]


def test_editors_are_trained_on_one_split_and_stopped_by_another(jobs):
    """Rules name them in the order in which scripts take them: cases, then dev."""
    training = ["method_vqa", "method_caption", "dev_vqa", "dev_caption"]
    for job in jobs:
        if job["rule"] == "train_editor":
            assert benchmark_files(job) == training
        if job["rule"] == "tuning_trials" and job["wildcards"]["method"] in OPENED_BY_TRAINING:
            assert benchmark_files(job) == [*training, "dev_vqa"]  # trained on, stopped by, judged on


OUTPUTS = ("csv", "losses", "readout", "scores", "trials", "weights")
NAMES = {"backbone": "tiny", "method": "mend"}


def both(split):
    return [f"{split}_{task}" for task in TASKS]


def test_scripts_give_each_split_its_part(monkeypatch):
    """Method-training edits train, development edits stop, judge and control, and what was taught is called taught."""
    library = fake_library(monkeypatch)
    files = {"visual": [], "frozen": [], "base": []}
    params = {
        "folder": "f",
        "knowledge": "k",
        "seed": 0,
        "method": {"method": "base"},
        "evaluation": {"generate": True},
    }
    params |= {"backbone": {"text_locality": None}, "positive_control": {"items": 2, "window_items": 2}}

    def run(script, inputs, **more):
        job = made_up_job(
            input=files | inputs, params=params | more, output=dict.fromkeys(OUTPUTS, "o"), wildcards=NAMES
        )
        run_script(script, job)

    most = {"method": None, "dev": None}
    run("train_editor", {"cases": both("method"), "dev": both("dev")}, edits=most)
    assert library["editing.building"].train_editor.call_args.args[2:4] == (both("method"), both("dev"))
    inputs = {"cases": both("dev"), "training": both("method"), "stopping": both("dev")}
    run("search", inputs, tasks=TASKS, edits=9, training_edits=most, grid={}, trials=1)
    assert library["editing.building"].editor_builder.call_args.args[4:] == (both("method"), both("dev"))
    searched = library["evaluation.tuning"].search
    assert searched.call_args.args[2] == {task: [f"dev_{task}"] for task in TASKS}
    inputs = {"encoders": "e", "triplets": "t", "visual": "v", "cases": both("dev")}
    run("run_positive_control", inputs, method={"h_pos": "last"})
    assert library["evaluation.positive_control"].PositiveControl().run.call_args.args[0] == both("dev")
    sets = {"taught": both("taught"), "eval": both("eval"), "visual": ["a", "b"]}
    run("diagnose", sets, splits=["taught", "eval"], edits=9)
    asked = [call.args[1] for call in library["evaluation.diagnostics"].diagnose.call_args_list]
    assert asked == [{"taught": [f]} for f in both("taught")] + [{"untaught": [f]} for f in both("eval")]


BESIDE = {"glob", "rglob", "iterdir", "with_name", "with_stem", "parent"}  # ways from a file to those beside it


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.stem)
def test_scripts_open_what_their_rule_names_and_build_no_path(file):
    """No name of a benchmark file in a script, and no way from an input to the files beside it."""
    tree = ast.parse(file.read_text())
    allowed = ("job.inputs", "inputs.", "job.outputs") if file.stem in GIVE_FOLDER else "job.outputs"
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node is not tree.body[0].value:
            assert not re.search(rf"({'|'.join(SPLITS)})[_./]|\.json|results|/", node.value), node.value
        if isinstance(node, ast.Attribute) and node.attr in BESIDE:
            assert ast.unparse(node.value).startswith(allowed), ast.unparse(node)


def test_the_library_finds_no_split_by_itself():
    """Outside the package that writes the benchmark, no file of a split is named; of its folder, what is taught."""
    opens, names = set(), re.compile(rf"\b({'|'.join(SPLITS)})_({'|'.join(TASKS)})")
    for file in (ROOT / "unike_lib").rglob("*.py"):
        text = "" if file.parent.name in ("benchmark", "world") else file.read_text()
        opens |= set(re.findall(r'benchmark / "(\w+\.\w+)"', text))
        assert not re.search(r"\}_\{\w+\}\.json", text), file.name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
                assert not names.search(node.value), (file.name, node.value)
    assert opens == {"scenes.parquet", "training.parquet"}
