"""Edit and score the evaluation cases with one method at every point of a sweep."""

from pathlib import Path

from unike_lib.runtime import Stage, job_mark

with Stage(snakemake) as config:
    import pandas as pd
    from unike_lib.backbones.speed.state_cache import StateCache
    from unike_lib.backbones.load import load_backbone
    from unike_lib.backbones.visual import VisualStore
    from unike_lib.benchmark.cases import read_cases
    from unike_lib.editing.building import editors_of_job
    from unike_lib.evaluation.records import SWEEP_SCHEMA, Before
    from unike_lib.evaluation.sessions import records_table
    from unike_lib.evaluation.tuning import sweep
    from unike_lib.io import write_table

    names, mark = snakemake.wildcards, job_mark(snakemake)
    settings = config.backbones[names.backbone]
    backbone = load_backbone(snakemake.params.folder, settings, VisualStore(Path(snakemake.input.visual)))
    backbone.cache = StateCache(backbone, map(Path, snakemake.input.frozen))
    editor_of = editors_of_job(snakemake, config, backbone)
    cases = read_cases(snakemake.input.cases, text_locality=settings.text_locality)[: snakemake.params.edits]
    before = Before.load(Path(snakemake.input.base))
    points = snakemake.params.points
    swept = sweep(backbone, editor_of, cases, before, points, config.evaluation.without_generation())
    labels = {"backbone": names.backbone, "task": names.task, "method": names.method}
    labels |= {"seed": snakemake.params.seed, "mark": mark}
    table = pd.concat([records_table(scores, labels).assign(**point) for point, scores in swept])
    write_table(snakemake.output[0], table, mark, SWEEP_SCHEMA)
