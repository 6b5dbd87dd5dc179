"""Measure what a backbone knows before any edit: taught items and their rephrasings, and untaught items."""

from unike_lib.runtime import Stage

NAMES = {"taught": "taught", "eval": "untaught"}

with Stage(snakemake) as job:
    import pandas as pd
    from unike_lib.backbones.load import open_backbone
    from unike_lib.benchmark.cases import read_files
    from unike_lib.evaluation.diagnostics import diagnose
    from unike_lib.io import write_csv

    tables = []
    for split, visual in zip(job.params.splits, job.inputs.visual, strict=True):
        backbone = open_backbone(job.params.folder, job.backbone, visual)
        for path in job.inputs[split]:
            cases = {NAMES[split]: read_files([path], most=job.params.edits)}
            tables.append(diagnose(backbone, cases, job.evaluation))
    table = pd.concat(tables).sort_values("task", kind="stable", ascending=False)
    table.insert(0, "backbone", job.wildcards.backbone)
    write_csv(job.outputs.csv, table, "%.6g")
