"""Try a method's grid of settings on development edits."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.backbones.speed.state_cache import StateCache
    from unike_lib.backbones.load import load_backbone
    from unike_lib.backbones.visual import VisualStore
    from unike_lib.benchmark.cases import read_cases
    from unike_lib.editing.building import editors_of_job
    from unike_lib.evaluation.records import Before
    from unike_lib.evaluation.tuning import grid_trials, search
    from unike_lib.io import atomic_path

    names = snakemake.wildcards
    settings = config.backbones[names.backbone]
    backbone = load_backbone(snakemake.params.folder, settings, VisualStore(*map(Path, snakemake.input.visual)))
    backbone.cache = StateCache(backbone, map(Path, snakemake.input.frozen))
    editor_of = editors_of_job(snakemake, config, backbone)
    cases = {
        task: read_cases(path, text_locality=settings.text_locality)[: snakemake.params.edits]
        for task, path in zip(snakemake.params.tasks, snakemake.input.cases, strict=True)
    }
    before = Before.load_all(map(Path, snakemake.input.base))
    trials = grid_trials(config.tuning.grids[names.method], config.tuning.trials, config.seed)
    table = search(backbone, editor_of, cases, before, trials, config.evaluation.without_generation())
    table.insert(0, "backbone", names.backbone)
    table.insert(2, "method", names.method)
    with atomic_path(snakemake.output[0]) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
