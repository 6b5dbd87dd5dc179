"""Train the editor of a method on the method-training edits, stopped by development edits."""

from pathlib import Path

from unike_lib.runtime import Stage, job_mark

with Stage(snakemake) as config:
    from unike_lib.backbones.speed.state_cache import StateCache
    from unike_lib.backbones.load import load_backbone
    from unike_lib.backbones.visual import VisualStore
    from unike_lib.benchmark.cases import read_cases
    from unike_lib.editing.building import train_editor
    from unike_lib.io import atomic_path, write_tensors
    from unike_lib.method import resolve_method

    names, inputs = snakemake.wildcards, snakemake.input
    settings = config.backbones[names.backbone]
    backbone = load_backbone(snakemake.params.folder, settings, VisualStore(*map(Path, inputs.visual)))
    backbone.cache = StateCache(backbone, map(Path, inputs.frozen))
    method = resolve_method(config.methods, names.method, names.backbone)
    most = snakemake.params.edits
    cases, dev = (
        [case for path in paths for case in read_cases(path, text_locality=settings.text_locality)[: most[split]]]
        for split, paths in {"method": inputs.cases, "dev": inputs.dev}.items()
    )
    weights, losses = train_editor(method, backbone, cases, dev, snakemake.params.seed)
    with atomic_path(snakemake.output.losses) as temporary:
        losses.to_csv(temporary, index=False, float_format="%.6g")
    write_tensors(snakemake.output.weights, weights, job_mark(snakemake))
