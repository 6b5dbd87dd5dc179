"""Ask the backbone the pool's questions and keep those that it gets wrong, with truth and wrong answer."""

from pathlib import Path

from unike_lib.runtime import Stage, job_mark

with Stage(snakemake) as config:
    from unike_lib.backbones.load import load_backbone
    from unike_lib.backbones.visual import VisualStore
    from unike_lib.benchmark.cases import read_cases
    from unike_lib.benchmark.triplet_sources import read_triplet_source
    from unike_lib.knowledge.triplets import collect_triplets, write_triplets

    settings = config.backbones[snakemake.wildcards.backbone]
    backbone = load_backbone(snakemake.params.folder, settings, VisualStore(Path(snakemake.input.visual)))
    cases = [case for path in snakemake.input.cases for case in read_cases(path)]
    cases += [case for path in snakemake.input.sources for case in read_triplet_source(Path(path))]
    limits = settings.max_triplets, snakemake.params.max_new_tokens
    write_triplets(
        collect_triplets(backbone, cases, *limits, config.seed), Path(snakemake.output[0]), job_mark(snakemake)
    )
