"""Ask the unedited backbone every probe of a split; all methods share these answers."""

from pathlib import Path

from unike_lib.runtime import Stage, job_mark

with Stage(snakemake) as config:
    from unike_lib.backbones.speed.state_cache import StateCache
    from unike_lib.backbones.load import load_backbone
    from unike_lib.backbones.visual import VisualStore
    from unike_lib.benchmark.cases import read_cases
    from unike_lib.evaluation.probes import answer_before

    settings = config.backbones[snakemake.wildcards.backbone]
    backbone = load_backbone(snakemake.params.folder, settings, VisualStore(Path(snakemake.input.visual)))
    backbone.cache = StateCache(backbone, map(Path, snakemake.input.frozen))
    cases = read_cases(snakemake.input.cases, text_locality=settings.text_locality)[: snakemake.params.edits]
    before = answer_before(backbone, cases, config.evaluation)
    before.save(Path(snakemake.output[0]), job_mark(snakemake))
