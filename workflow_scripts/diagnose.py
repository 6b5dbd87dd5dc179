"""Measure what a backbone knows before any edit: taught items and their rephrasings, and untaught items."""

from pathlib import Path

from unike_lib.runtime import Stage

NAMES = {"taught": "taught", "eval": "untaught"}

with Stage(snakemake) as config:
    import pandas as pd
    from unike_lib.backbones.load import load_backbone
    from unike_lib.backbones.visual import VisualStore
    from unike_lib.benchmark.cases import read_cases
    from unike_lib.evaluation.diagnostics import diagnose
    from unike_lib.io import atomic_path

    name = snakemake.wildcards.backbone
    tables = []
    for split, visual in zip(snakemake.params.splits, snakemake.input.visual, strict=True):
        backbone = load_backbone(snakemake.params.folder, config.backbones[name], VisualStore(Path(visual)))
        for path in snakemake.input[split]:
            cases = {NAMES[split]: read_cases(path)[: snakemake.params.edits]}
            tables.append(diagnose(backbone, cases, config.evaluation))
    table = pd.concat(tables).sort_values("task", kind="stable", ascending=False)
    table.insert(0, "backbone", name)
    with atomic_path(snakemake.output[0]) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
