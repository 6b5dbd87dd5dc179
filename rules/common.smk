# What every rule file uses: the validated configuration, and how a rule names the code and the settings it depends on.

import os
from pathlib import Path

from snakemake.exceptions import WorkflowError

from unike_lib.config import load_config, resolve_method
from unike_lib.sources import LIBRARY, library_files
from unike_lib.types import InputError

STAGES = "results/stages"

try:
    CONFIG = load_config(
        config,
        " + ".join(os.path.relpath(file) for file in reversed(workflow.configfiles)),
    )
except InputError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    backbone=r"[\w.-]+",
    task="vqa|caption",
    split="taught|pool|method|dev|eval",
    k=r"\d+",
    method=r"[\w.-]+",


def lib(script, data=()):
    """Library files behind a workflow script; editing one runs the rule again. `data`: patterns of package data."""
    files = library_files(Path(workflow.basedir) / "workflow_scripts" / f"{script}.py")
    return [
        os.path.relpath(file)
        for file in [
            *files,
            *(file for pattern in data for file in LIBRARY.glob(pattern)),
        ]
    ]


def backbone_fields(*names):
    """A params function: these fields of the job's backbone."""
    return lambda wildcards: CONFIG.backbones[wildcards.backbone].model_dump(
        mode="json", include=set(names)
    )


def method_fields(wildcards):
    """All settings of the job's method variant."""
    return resolve_method(CONFIG.methods, wildcards.method).model_dump(mode="json")


def gpus(wildcards):
    """GPUs that the job's backbone needs: one if its device is a GPU."""
    return int(CONFIG.backbones[wildcards.backbone].device.startswith("cuda"))
