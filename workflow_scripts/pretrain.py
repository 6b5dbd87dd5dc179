"""Train an embedded backbone, or take the library's, and save it as a save_pretrained folder."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.config.run import PretrainConfig
    from unike_lib.embedded.training.pretrain import pretrain
    from unike_lib.embedded.training.recipe import Recipe

    inputs, settings = job.inputs, job.section("pretrain", PretrainConfig)
    benchmark = inputs.training.parent
    recipe = Recipe(benchmark, inputs.features or None, inputs.vocabulary, job.backbone, settings, job.params.seed)
    pretrain(recipe, job.outputs.folder)
