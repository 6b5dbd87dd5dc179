"""Take the library's trained connector if it fits the benchmark and the settings, else train one."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.embedded.training.recipe import Recipe
    from unike_lib.embedded.training.trained_part import make_trained_part
    from unike_lib.config.run import SmolConfig

    inputs, settings = job.inputs, job.section("smol", SmolConfig)
    benchmark = inputs.training.parent
    recipe = Recipe(benchmark, inputs.features or None, inputs.base, job.backbone, settings, job.params.seed)
    make_trained_part(recipe, job.outputs.weights)
