"""Train an embedded backbone and save it as a save_pretrained folder."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.embedded.training.pretrain import pretrain
    from unike_lib.config.run import PretrainConfig

    benchmark, settings = job.inputs.training.parent, job.section("pretrain", PretrainConfig)
    pretrain(benchmark, job.inputs.features, job.outputs.folder, job.backbone, settings, job.params.seed)
