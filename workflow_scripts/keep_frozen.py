"""Run the questions of a split's cases through the unedited backbone and keep what its layers make of them, by task."""

from pathlib import Path

from unike_lib.runtime import Stage, job_mark

with Stage(snakemake) as config:
    from unike_lib.backbones.speed.state_cache import cache_states, cached_depths
    from unike_lib.backbones.load import load_backbone
    from unike_lib.backbones.visual import VisualStore
    from unike_lib.benchmark.cases import read_cases

    settings = config.backbones[snakemake.wildcards.backbone]
    backbone = load_backbone(snakemake.params.folder, settings, VisualStore(Path(snakemake.input.visual)))
    for path, out in zip(snakemake.input.cases, snakemake.output, strict=True):
        cases = read_cases(path, text_locality=settings.text_locality)[: snakemake.params.edits]
        queries = [probe.query for case in cases for probe in case.probes]
        depths = cached_depths(backbone, snakemake.params.first_layers)
        cache_states(backbone, queries, depths, Path(out), job_mark(snakemake))
