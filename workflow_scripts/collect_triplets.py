"""Ask the backbone the pool's questions and keep those that it gets wrong, with truth and wrong answer."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.load import open_backbone
    from unike_lib.benchmark.cases import read_files
    from unike_lib.benchmark.triplet_sources import read_triplet_source
    from unike_lib.knowledge.triplets import collect_triplets, write_triplets

    backbone = open_backbone(job.params.folder, job.backbone, job.inputs.visual)
    cases = read_files(job.inputs.cases)
    cases += [case for path in job.inputs.sources for case in read_triplet_source(path)]
    limits = job.backbone.max_triplets, job.evaluation.max_new_tokens
    write_triplets(collect_triplets(backbone, cases, *limits, job.params.seed), job.outputs.triplets, job.fingerprint)
