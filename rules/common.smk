# Shared by all files of rules: the validated configuration, and how a rule names the code and settings it depends on.

import json
import os
import re
import shlex
import sys
import time
from functools import cache
from pathlib import Path

from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

from unike_lib.benchmark.cases import cases_folder
from unike_lib.benchmark.file_state import state_of_benchmark
from unike_lib.config.benchmark import FORMATS
from unike_lib.code_digest import code_digest, entry_digest
from unike_lib.config.run import load_config
from unike_lib.criterion import CRITERIA, find_criteria
from unike_lib.family import FAMILIES
from unike_lib.file_state import state_of
from unike_lib.front.yaml_text import check_keys
from unike_lib import method_files
from unike_lib.method import METHODS, method_of, resolve_method
from unike_lib.method_files import trained_variants
from unike_lib.io import can_be_made, fingerprint_of
from unike_lib.registry import entry_file
from unike_lib.config.tables import tasks_of
from unike_lib.table_parts import report_parts, table_parts
from unike_lib.types import InputError

STARTED = time.time()
# Jobs keep the memory that they free: by default glibc returns large blocks to the system after every pass and takes them
# again, a tenth of a long job's time.
for variable in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
    os.environ.setdefault(variable, str(4 * 10**9))
# Caches (Snakemake's, matplotlib's, Hugging Face's) lie below the home folder; in the working folder where that cannot be
# written. Jobs take it over; one on a node of a cluster reads this file too, and looks there for itself.
if not can_be_made(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")):
    writable = os.path.abspath(".snakemake/cache")
    os.environ.update(XDG_CACHE_HOME=writable, MPLCONFIGDIR=f"{writable}/matplotlib")
# Snakemake writes the interpreter's path into shell commands as it is, and this folder's may have a space.
if os.path.exists(sys.executable):
    sys.executable = shlex.quote(sys.executable)
STAGES = "results/stages"
BENCHMARK = f"{STAGES}/benchmark"
# Jobs find the library that lies beside this workflow, installed or not.
os.environ.update(PYTHONPATH=os.pathsep.join(dict.fromkeys([CHECKOUT, *filter(None, [os.environ.get("PYTHONPATH")])])))

# Another workflow imports this one. Parameters would not know a prefix.
IMPORTED = not workflow.modifier.is_main_snakefile()
if workflow.modifier.modify_path(STAGES) != STAGES:
    raise WorkflowError("module: expected neither prefix nor replace_prefix; results of this workflow lie in results/")

PRESETS = sorted(file.stem for file in Path(CHECKOUT, "presets").glob("*.yaml"))

# `--config preset=full` lays presets/full.yaml over config.yaml, below the user's own files and settings; of several,
# `preset=paper,rehearsal`, each lies over those before it.
FILES = [f"{CHECKOUT}/config.yaml"]
for preset in filter(None, config.get("preset", "").split(",")):
    if preset not in PRESETS:
        raise WorkflowError(f"preset: unknown preset {preset!r}; known: {', '.join(PRESETS)}")

    FILES.append(f"{CHECKOUT}/presets/{preset}.yaml")

    configfile: FILES[-1]


if IMPORTED:
    # Snakemake reads no `configfile` of a module: what the importing workflow gives lies over the same files here.
    given, config = config, {}
    for file in FILES:
        update_config(config, load_configfile(file))
    update_config(config, given)

config.pop("preset", None)
SOURCES = ["config of the module", *reversed(FILES)] if IMPORTED else workflow.configfiles[::-1]
SOURCES = [os.path.relpath(file, CHECKOUT) if os.path.exists(file) else file for file in SOURCES]

try:
    for file in dict.fromkeys([*FILES, *workflow.configfiles]):
        if workflow.is_main_process and os.path.isfile(file):  # its jobs read the same files
            check_keys(Path(file), os.path.relpath(file, CHECKOUT))
    CONFIG = load_config(config, " + ".join(SOURCES), files=True)
except InputError as error:
    raise WorkflowError(str(error)) from None

EMBEDDED = CONFIG.benchmark.embedded
TASKS = CONFIG.benchmark.tasks
IMAGE_ROOTS = [BENCHMARK] if EMBEDDED else CONFIG.benchmark.image_roots
# A user's folders must be there; what of them counts, and when it changes, says a parameter (`files_below`, `pictures`).
IMAGES = f"{BENCHMARK}/images" if EMBEDDED else [ancient(root) for root in IMAGE_ROOTS]
# Where the edits lie that the job's backbone is asked: of a user's benchmark, those whose texts its tokenizer can take.
ASKABLE = cases_folder(STAGES, "{backbone}", EMBEDDED)
# Of a user's benchmark: questions beyond it from which triplets are collected too, and what is left out of its files.
SOURCES_FILES = ["pool_sources.jsonl"] * bool(CONFIG.benchmark.triplet_sources)
POOL_SOURCES = [f"{ASKABLE}/{name}" for name in SOURCES_FILES]
COUNTS = [] if EMBEDDED else [f"{BENCHMARK}/counts.json"]
SPLITS = ["taught"] * EMBEDDED + ["pool", "method", "dev", "eval"]
# What a backbone is diagnosed on: items that it was taught, and items that it should not know.
DIAGNOSED = [split for split in ("taught", "eval") if split in SPLITS]
TEXT_QUESTIONS = ["benchmark/general_questions.json"]
# The tables that give the page of examples (one-step editing) and the figure of forgetting their cells; None: no such
# table, nor page or figure. Searches take the backbones and tasks of the first table.
ONE_STEP, SEQUENTIAL = CONFIG.first_table(several=False), CONFIG.first_table(several=True)
CELL_TABLES = [name for name, table in CONFIG.tables.items() if table.settings]
FIRST = CONFIG.tables[CELL_TABLES[0]]
# Backbones and methods whose retention after many edits is measured: of the embedded benchmark alone, which knows what was
# taught.
RETAINING = list(CONFIG.retention.backbones or FIRST.backbones) * EMBEDDED
RETAINED = list(CONFIG.retention.methods or (CONFIG.tables[SEQUENTIAL].methods if SEQUENTIAL else ()))
DRAWN = {"forgetting": SEQUENTIAL, "retention": RETAINING and RETAINED}
FIGURES = expand(
    "results/figures/{figure}.pdf",
    figure=["fig2a", *CONFIG.figures.sweeps, "fig5a", *filter(DRAWN.get, DRAWN), "joint", "encoder_losses"],
)
# Memory of a job, MB, by what it holds: tables and figures; a backbone or its states; a backbone that is edited or trained.
TABLES, STATES, EDITS = 1500, 2500, 4000
# Backbones converted from original checkpoints; backbones made here: a tiny language model from scratch, or a pretrained.
CONVERTED = [name for name, backbone in CONFIG.backbones.items() if backbone.original]
MADE = [name for name, backbone in CONFIG.backbones.items() if backbone.made_here]
SMOL = [name for name in MADE if CONFIG.backbones[name].language_model]
NANO = [name for name in MADE if name not in SMOL]
# Backbones of any table or figure.
SHOWN = list(dict.fromkeys(name for names in CONFIG.shown.values() for name in names))
# Method variants whose editor is trained before any edit, those first that others may be like.
TRAINED_VARIANTS = trained_variants(CONFIG.methods)
# What tells apart the records of a cell made with another seed than the first.
REPEATS = ["", *(f".seed{seed}" for seed in CONFIG.seeds[1:])]


def named(names):
    """A wildcard constraint: one of these names, and nothing if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def lib(script, data=()):
    """A digest of the library code (and package data) behind a workflow script: as a parameter, it makes an edit of the
    library run again the rules that it can change."""
    return code_digest(Path(CHECKOUT) / "workflow_scripts" / f"{script}.py", data)


def fields(section, *names):
    """A parameter: some fields of a section of the configuration, or all; a script sees these, and no others."""
    values = section.model_dump(mode="json")
    return {name: values[name] for name in names or values}


def unmarked(section, *names):
    """A resource: fields that a script needs and that change no result, so that another value runs nothing again."""
    return json.dumps(fields(section, *names))


def backbone_fields(*names):
    """A params function: these fields of the job's backbone."""
    return lambda wildcards: fields(CONFIG.backbones[wildcards.backbone], *names)


def layout(wildcards):
    """A digest of the file of the job's family: an edit of it runs again the jobs of its backbones."""
    return family_digest(CONFIG.backbones[wildcards.backbone].family)


@cache
def family_digest(family):
    return entry_digest(entry_file(family, *FAMILIES))


@cache
def files_below(*paths):
    """A parameter: what a user's files, or all files below his folders, look like, so that a change runs again what reads
    them; nothing of what rules make."""
    users = [path for path in paths if not path.startswith(f"{STAGES}/")]
    return state_of(users) if users else None


def pictures(wildcards):
    """A parameter: what the files of a user's benchmark and the pictures that they name look like."""
    return benchmark_state()


@cache
def benchmark_state():
    return None if EMBEDDED else state_of_benchmark(CONFIG.benchmark)


def files_of_backbone(wildcards):
    """A parameter: what the files of the job's backbone look like, if it is a user's."""
    return files_below(*backbone_files(wildcards))


def opens_backbone(*names):
    """Params that open the job's backbone: where it lies, what shapes its answers, and more of its fields."""
    of_model = backbone_fields("family", "dtype", "image_size", "vqa_prompt", *names)
    return {"folder": backbone_folder, "backbone": of_model, "layout": layout, "files": files_of_backbone}


def runs_backbone(mem_mb, *names):
    """Resources of such a rule: memory, a GPU if the backbone is on one, and fields that change no result."""
    beside = lambda wildcards: unmarked(CONFIG.backbones[wildcards.backbone], "device", *names)
    return {"mem_mb": mem_mb, "gpu": gpus, "backbone": beside}


def method_fields(wildcards):
    """All settings of the job's method variant on the job's backbone."""
    return fields(resolve_method(CONFIG.methods, wildcards.method, wildcards.backbone))


def training_fields(wildcards):
    """Those of them that the training of an editor reads."""
    return training_settings(wildcards.method, wildcards.backbone)


def editing_fields(wildcards):
    """A resource: the others, which building its untrained models asks for; they do not shape what is trained."""
    values, trained = method_fields(wildcards), training_fields(wildcards)
    return json.dumps({name: values[name] for name in values if name not in trained})


@cache
def training_settings(variant, backbone):
    """The settings of a method variant on a backbone that the training of its editor reads."""
    return method_files.training_settings(CONFIG.methods, variant, backbone)


@cache
def trained_for(method, backbone):
    """The first method variant whose training is that of this one: one training serves all that differ in editing."""
    return method_files.trained_for(CONFIG.methods, method, backbone)


def trainings_of(wildcards):
    """The trainings that the job's table rests on, one per seed: backbone, method variant, file of losses."""
    rows = CONFIG.tables[wildcards.table]
    return [
        (backbone, method, f"{STAGES}/editors/{backbone}/{trained_for(method, backbone)}{repeat}_losses.csv")
        for backbone in rows.backbones
        for method in rows.methods
        if method in TRAINED_VARIANTS
        for repeat in REPEATS
    ]


def trained_on_text(wildcards):
    """Whether the training of the job's method variant does not run the backbone."""
    return method_of(CONFIG.methods, wildcards.method).trains_on_text


def training_edits(wildcards):
    """How many edits per task an editor is trained on and stopped by, by split; None: all."""
    most = None if trained_on_text(wildcards) else CONFIG.backbones[wildcards.backbone].training_edits
    return {"method": most, "dev": CONFIG.tuning.edits}


def control_method(write, *names):
    """A function of the job: settings of the latent shift that the positive control uses on its backbone."""
    name = CONFIG.positive_control.method
    return lambda wildcards: write(resolve_method(CONFIG.methods, name, wildcards.backbone), *names)


def gpus(wildcards):
    """GPUs that the job's backbone needs: one if its device is a GPU; with `auto` it takes all that it can see."""
    return int(CONFIG.backbones[wildcards.backbone].device.startswith(("cuda", "auto")))


def backbone_folder(wildcards):
    """Where the job's backbone lies: the folder that a rule writes, the user's folder, or a hub id."""
    return CONFIG.backbones[wildcards.backbone].folder or f"{STAGES}/backbones/{wildcards.backbone}"


def backbone_files(wildcards):
    """The job's backbone as an input: its folder; nothing if it is named by a hub id."""
    folder = backbone_folder(wildcards)
    # A folder below the stages may belong to another backbone made here, whose other layers are edited.
    if folder.startswith(f"{STAGES}/"):
        return [folder]
    return [ancient(folder)] if os.path.isdir(folder) else []


def original_files(wildcards):
    """The files of the job's original checkpoint; of its language model, what is no hub id."""
    files = CONFIG.backbones[wildcards.backbone].original.model_dump()
    language_model = files.pop("language_model")
    return [*filter(None, files.values()), *([ancient(language_model)] if os.path.isdir(language_model) else [])]


def text_questions(wildcards):
    """The user's file of text-only questions, if the job's backbone is asked those."""
    source = CONFIG.backbones[wildcards.backbone].text_locality
    return [] if source in (None, "general") else [source]


# What a rule that asks a backbone all probes reads besides the edits.
ASKED = {"backbone": backbone_files, "questions": text_questions}
# Sessions of a batch change results by rounding at most.
SESSIONS = unmarked(CONFIG.evaluation, "sessions")
# A digest of the code of the criteria that answers are scored by.
CRITERIA_CODE = fingerprint_of([entry_digest(entry_file(name, *CRITERIA)) for name in CONFIG.evaluation.criteria])
# What the positive control reads of its section.
TESTED = sorted(type(CONFIG.positive_control).model_fields.keys() - {"method"})


def user_questions(backbones):
    """The users' files of text-only questions that some backbones are asked."""
    sources = {CONFIG.backbones[name].text_locality for name in backbones}
    return sorted(sources - {None, "general"})


def cases_of(split, tasks=TASKS, folder=ASKABLE):
    """The files of a split's edits, by task; by default those that the job's backbone is asked."""
    return [f"{folder}/{split}_{task}.json" for task in tasks]


def cases_for(backbone, split):
    """Those that a backbone is asked."""
    return expand(cases_of(split), backbone=backbone)


def seen(*splits):
    """The files of what the job's backbone sees in the pictures of some splits."""
    return [f"{STAGES}/visual/{{backbone}}/{split}.safetensors" for split in splits]


def asks_pictures(method, backbone, grid=None):
    """Whether edits of a method variant ask questions of the method-training split with their pictures; with values that
    a sweep or a search tries, whether any of these does."""
    tried = [{}, *({field: value} for field, values in (grid or {}).items() for value in values)]
    asks = method_of(CONFIG.methods, method).asks_pictures
    return any(asks(resolve_method(CONFIG.methods, method, backbone, each)) for each in tried)


def seen_by_edits(wildcards):
    """What the job's backbone sees in the pictures of the questions that its edits and their probes ask."""
    sweep = CONFIG.figures.sweeps.get(wildcards.get("sweep"))
    grid = sweep.vary.get(wildcards.method, {}) if sweep else {}
    splits = dict.fromkeys(
        (wildcards.get("split", "eval"), *["method"] * asks_pictures(wildcards.method, wildcards.backbone, grid))
    )
    return expand(seen(*splits), backbone=wildcards.backbone)


def files_of_method(wildcards):
    """What the method variant needs besides the backbone, as its room says: files of `knowledge/`, edits of the
    method-training split, a trained editor."""
    split = list(map(Path, cases_for(wildcards.backbone, "method")))
    files = method_files.files_of_method(CONFIG.methods, wildcards.method, wildcards.backbone, Path(STAGES), split)
    named = {need: str(paths[0]) for need, paths in files.items() if need != "method_split"}
    if "method_split" in files:
        named["demonstrations"] = list(map(str, files["method_split"]))
    if "trained" in files:
        repeat = wildcards.get("repeat", "")
        variant = trained_for(wildcards.method, wildcards.backbone)
        named["trained"] = f"{STAGES}/editors/{wildcards.backbone}/{variant}{repeat}.safetensors"
    return named


@cache
def room_digest(variant):
    """A digest of the code of a method variant's room: an edit of it runs again the jobs of this method."""
    entry = CONFIG.methods[variant]
    return entry_digest(entry_file(CONFIG.methods[entry.get("like", variant)]["method"], *METHODS))


def room(wildcards):
    """The digest of the room of the job's method variant."""
    return room_digest(wildcards.method)


def files_of_trials(wildcards):
    """What a search over the method variant's settings needs besides the backbone, pictures included: every trial of a
    method that is trained before it edits trains anew."""
    files = files_of_method(wildcards)
    splits = ["dev"]
    if files.pop("trained", None):
        files["training"] = cases_for(wildcards.backbone, "method")
        files["stopping"] = cases_for(wildcards.backbone, "dev")
    grid = CONFIG.tuning.grids.get(wildcards.method)
    if "training" in files or asks_pictures(wildcards.method, wildcards.backbone, grid):
        splits.append("method")
    return files | {"visual": expand(seen(*splits), backbone=wildcards.backbone)}


def evaluation_edits(wildcards, most=None):
    """The smallest of the limits on evaluation edits: the configuration's, the backbone's, and `most`; None: all."""
    limits = (CONFIG.evaluation.edits, CONFIG.backbones[wildcards.backbone].edits, most)
    return min((limit for limit in limits if limit is not None), default=None)


def edits_of_split(wildcards):
    """How many edits of the split are used; None: all."""
    own = {"pool": None, "method": CONFIG.backbones[wildcards.backbone].training_edits, "dev": CONFIG.tuning.edits}
    return own[wildcards.split] if wildcards.split in own else evaluation_edits(wildcards)


def pictured_edits(wildcards):
    """Of how many edits of the split the pictures are seen: the positive control is on development edits, too; and edits
    that ask about pictures of the method-training split may ask about any."""
    edits = edits_of_split(wildcards)
    if wildcards.split == "method" and any(
        asks_pictures(name, wildcards.backbone, grid) for name, grid in tried_methods()
    ):
        return None
    return max(edits, CONFIG.positive_control.candidates) if wildcards.split == "dev" else edits


def tried_methods():
    """The method variants that edit, each with the values that a sweep or a search tries of it."""
    plain = [*CONFIG.figures.fig2a, *RETAINED, *(name for rows in CONFIG.tables.values() for name in rows.methods)]
    grids = [CONFIG.tuning.grids, *(sweep.vary for sweep in CONFIG.figures.sweeps.values())]
    return [*((name, None) for name in dict.fromkeys(plain)), *(pair for grid in grids for pair in grid.items())]


def of_its_tasks(pattern):
    """An input function: the file of the job's task, or of each task that its sessions mix."""
    return lambda wildcards: [
        pattern.format(**{**dict(wildcards.items()), "task": task}) for task in tasks_of(wildcards.task)
    ]


def first_layers(wildcards):
    """Where the edits of all method variants begin on the job's backbone, as their rooms say."""
    variants = {name: resolve_method(CONFIG.methods, name, wildcards.backbone) for name in CONFIG.methods}
    found = {method_of(CONFIG.methods, name).first_layer(settings) for name, settings in variants.items()}
    return sorted(found, key=lambda first: (first is not None, first or 0))


def frozen_of(backbone, splits, tasks):
    """What the layers of a backbone make of the questions of some splits and tasks, if it is kept on disk."""
    kept = [backbone] * CONFIG.backbones[backbone].keep_frozen
    return expand(
        f"{STAGES}/frozen/{{backbone}}/{{split}}_{{task}}.safetensors", backbone=kept, split=splits, task=tasks
    )


def frozen_of_training(wildcards):
    """The same for the training of the job's method variant, if that runs the backbone."""
    return [] if trained_on_text(wildcards) else frozen_of(wildcards.backbone, ["method", "dev"], TASKS)


def frozen_files(wildcards):
    """The same for the job's split, by default the evaluation edits, and the tasks that its sessions have."""
    return frozen_of(wildcards.backbone, [wildcards.get("split", "eval")], tasks_of(wildcards.task))


def shard_numbers(wildcards):
    """Which shard of the edits of its cell the job makes, from 1, and how many there are."""
    return [int(number) for number in re.findall(r"\d+", wildcards.shard)] or [1, 1]


def shards_of(backbone):
    """What tells apart the files of a cell's records, one a shard: nothing for a single one, else `.2of3`."""
    count = CONFIG.backbones[backbone].shards
    return [f".{number}of{count}" for number in range(1, count + 1)] if count > 1 else [""]


def seed_of(wildcards):
    """The seed of the job's edits: the one in the name of its result, or the first."""
    return int((re.findall(r"\d+", wildcards.repeat) or CONFIG.seeds)[0])


def records_of_cells(backbones, settings, methods, repeats=REPEATS):
    """Records of every backbone, setting (task and K) and method, with every seed: a file has all K of a task, because
    longer sessions begin with the edits of shorter ones, and all tasks of the same K, because starting a job takes long.
    """
    ks = {task: tuple(sorted({k for other, k in settings if other == task})) for task, _ in settings}
    tasks = {each: "-".join(task for task in ks if ks[task] == each) for each in ks.values()}
    return [
        f"{STAGES}/records/{backbone}/eval_{tasks[each]}/k{'-'.join(map(str, each))}/{method}{repeat}{shard}.parquet"
        for backbone in backbones
        for each in tasks
        for method in methods
        for repeat in repeats
        for shard in shards_of(backbone)
    ]


def records_of(table, repeats=REPEATS):
    """Records of every cell of a table."""
    rows = CONFIG.tables[table]
    return records_of_cells(rows.backbones, rows.settings, rows.methods, repeats)


def cells_behind(wildcards):
    """The tables whose cells the job's table has: itself, or those that it averages."""
    return list(dict.fromkeys(CONFIG.tables[wildcards.table].averages.values())) or [wildcards.table]


def records_of_table(wildcards):
    """Records of the cells behind the job's table, by table."""
    return {f"records_{name}": records_of(name) for name in cells_behind(wildcards)}


def control_of_table(wildcards):
    """Scores of the positive control of the backbones in the job's table; none where no method reads a memory.

    Where a run is asked for tables alone, of those backbones that have them: a first table does not wait for the control.
    """
    if not table_parts(CONFIG, wildcards.table).readers:
        return []
    backbones = [name for table in cells_behind(wildcards) for name in CONFIG.tables[table].backbones]
    files = of_each_backbone("positive_control/{backbone}.parquet", dict.fromkeys(backbones))
    return [file for file in files if os.path.exists(file)] if tables_alone(workflow.dag_settings) else files


def tables_alone(asked):
    """Say whether a run is asked for files of tables alone (a job of a cluster: for its own job)."""
    tables = re.compile(rf"results/({'|'.join(map(re.escape, CONFIG.tables))})(_\w+)?\.\w+")
    return bool(asked.target_jobs) or bool(asked.targets) and all(map(tables.fullmatch, map(str, asked.targets)))


def of_each_backbone(pattern, backbones=FIRST.backbones, **wildcards):
    """A file of each of some backbones, by default of those in the first table."""
    return expand(f"{STAGES}/{pattern}", backbone=backbones, **wildcards)


def of_figures(pattern, **wildcards):
    """A file of every backbone that the figures show."""
    return expand(f"{STAGES}/{pattern}", backbone=CONFIG.figures.backbones, **wildcards)


def sweep_files(wildcards):
    """Records of every backbone, task and method of a sweep."""
    sweep = CONFIG.figures.sweep(wildcards.sweep)
    return expand(
        f"{STAGES}/sweeps/{{backbone}}/{{task}}/{wildcards.sweep}/{{method}}.parquet",
        backbone=sweep.backbones,
        task=sweep.tasks,
        method=list(sweep.vary),
    )


def shown(path, category="Figures", **labels):
    """An output that Snakemake's report shows; its caption and its part of the category have its name."""
    name = Path(path).stem
    return report(path, caption=f"captions/{name}.rst", category=category, subcategory=name, labels=labels)


def figure_files(name, caption=None, criteria=("token",)):
    """The files of a figure: as PDF and PNG, once by each criterion, and the numbers."""
    files = {}
    place = {"caption": f"captions/{caption or name}.rst", "category": "Figures", "subcategory": name}
    for criterion in criteria:
        prefix, ending = ("", "") if criterion == "token" else (f"{criterion}_", f"_{criterion}")
        label = "PNG" if criterion == "token" else f"PNG, {criterion}"
        files[f"{prefix}pdf"] = f"results/figures/{name}{ending}.pdf"
        files[f"{prefix}png"] = report(f"results/figures/{name}{ending}.png", labels={"file": label}, **place)
    return files | {"csv": f"results/figures/{name}.csv"}


def summarise_run(status):
    """Write results/run.json: what this call of Snakemake ran, how long, with how much memory, versions, settings."""
    # Only the end of a run needs pandas; planning it should not wait for that.
    from unike_lib.reporting.run_summary import Run, write_run

    run = Run(status, STARTED, sorted(map(str, workflow.dag_settings.targets)), SOURCES)
    write_run(run, CONFIG.model_dump(mode="json"), Path(f"{STAGES}/benchmarks"), Path("results/run.json"))
