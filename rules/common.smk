# What every rule file uses: the validated configuration, and how a rule names the code and the settings it depends on.

import os
import re
from pathlib import Path

from snakemake.exceptions import WorkflowError

from unike_lib.config import load_config
from unike_lib.methods import resolve_method
from unike_lib.sources import code_digest
from unike_lib.types import InputError

STAGES = "results/stages"
BENCHMARK = f"{STAGES}/benchmark"
SOURCES = [os.path.relpath(file, workflow.basedir) for file in reversed(workflow.configfiles)]

try:
    CONFIG = load_config(config, " + ".join(SOURCES))
except InputError as error:
    raise WorkflowError(str(error)) from None

EMBEDDED = CONFIG.benchmark.annotations is None
IMAGE_ROOT = BENCHMARK if EMBEDDED else CONFIG.benchmark.images
IMAGES = f"{BENCHMARK}/images" if EMBEDDED else IMAGE_ROOT
SPLITS = ["taught"] * EMBEDDED + ["pool", "method", "dev", "eval"]
# What a backbone is diagnosed on: items that it was taught, and items that it should not know.
DIAGNOSED = [split for split in ("taught", "eval") if split in SPLITS]
TEXT_QUESTIONS = ["benchmark/general_questions.json"]
GENERATION = CONFIG.evaluation.model_dump(mode="json", include={"generate", "max_new_tokens"})
# Backbones made here: a tiny language model from scratch, or a pretrained one.
MADE = [name for name, backbone in CONFIG.backbones.items() if backbone.folder is None]
SMOL = [name for name in MADE if CONFIG.backbones[name].language_model]
NANO = [name for name in MADE if name not in SMOL]


def named(names):
    """A wildcard constraint: one of these names, and nothing if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def lib(script, data=()):
    """A digest of the library code (and package data) behind a workflow script: as a parameter, it makes an edit of the
    library run again the rules that it can change."""
    return code_digest(Path(workflow.basedir) / "workflow_scripts" / f"{script}.py", data)


def backbone_fields(*names):
    """A params function: these fields of the job's backbone."""
    return lambda wildcards: CONFIG.backbones[wildcards.backbone].model_dump(mode="json", include=set(names))


def method_fields(wildcards):
    """All settings of the job's method variant on the job's backbone."""
    return resolve_method(CONFIG.methods, wildcards.method, wildcards.backbone).model_dump(mode="json")


def admission_method():
    """Settings of the latent shift that the admission tests use."""
    method = resolve_method(CONFIG.methods, CONFIG.admission.method)
    return method.model_dump(mode="json", include={"top_k", "attention", "rotate_memory", "h_pos"})


def gpus(wildcards):
    """GPUs that the job's backbone needs: one if its device is a GPU."""
    return int(CONFIG.backbones[wildcards.backbone].device.startswith("cuda"))


def backbone_folder(wildcards):
    """Where the job's backbone lies: the folder that `pretrain` writes, the user's folder, or a hub id."""
    return CONFIG.backbones[wildcards.backbone].folder or f"{STAGES}/backbones/{wildcards.backbone}"


def backbone_files(wildcards):
    """The job's backbone as an input: its folder; nothing if it is named by a hub id."""
    folder = backbone_folder(wildcards)
    # A folder below the stages may belong to another backbone made here, whose other layers are edited.
    return [folder] if folder.startswith(f"{STAGES}/") or os.path.isdir(folder) else []


def text_questions(wildcards):
    """The user's file of text-only questions, if the job's backbone is asked those."""
    source = CONFIG.backbones[wildcards.backbone].text_locality
    return [] if source in (None, "general") else [source]


def files_of_method(wildcards):
    """What the method variant needs besides the backbone: encoders and memory (UniKE), FFN inputs (memory losses),
    edits of the method-training split (demonstrations in context)."""
    settings = resolve_method(CONFIG.methods, wildcards.method, wildcards.backbone)
    names = {
        "t-patcher": ["ffn_inputs.parquet"],
        "unike": ["ffn_inputs.parquet", "encoders.safetensors", "memory.safetensors"],
    }.get(settings.method, [])
    files = {name.split(".")[0]: f"{STAGES}/knowledge/{wildcards.backbone}/{name}" for name in names}
    if settings.method == "ike" or getattr(settings, "in_context", False):
        files["demonstrations"] = [f"{BENCHMARK}/method_{task}.json" for task in ("vqa", "caption")]
    return files


def evaluation_edits(wildcards, most=None):
    """The smallest of the limits on evaluation edits: the configuration's, the backbone's, and `most`; None: all."""
    limits = (CONFIG.evaluation.edits, CONFIG.backbones[wildcards.backbone].edits, most)
    return min((limit for limit in limits if limit is not None), default=None)


def edits_of_split(wildcards):
    """How many edits of the split are used; None: all."""
    dev = max(CONFIG.tuning.edits, CONFIG.admission.items)
    return {"pool": None, "dev": dev}.get(wildcards.split, evaluation_edits(wildcards))


def table1_records():
    """Records of every cell of Table 1."""
    return expand(
        f"{STAGES}/records/{{backbone}}/eval_{{task}}/k1/{{method}}.parquet",
        backbone=CONFIG.table1.backbones,
        task=CONFIG.table1.tasks,
        method=CONFIG.table1.methods,
    )


def of_each_backbone(pattern, **wildcards):
    """A file of every backbone in Table 1."""
    return expand(f"{STAGES}/{pattern}", backbone=CONFIG.table1.backbones, **wildcards)
