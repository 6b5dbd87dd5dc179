"""Take the library's trained connector if it fits the benchmark and the settings, else train one."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.embedded.training.smol import SmolRecipe, make_trained_part
    from unike_lib.config.run import SmolConfig

    inputs, settings = job.inputs, job.section("smol", SmolConfig)
    benchmark = inputs.training.parent
    recipe = SmolRecipe(benchmark, inputs.features, inputs.base, job.backbone, settings, job.params.seed)
    make_trained_part(recipe, job.outputs.weights)
