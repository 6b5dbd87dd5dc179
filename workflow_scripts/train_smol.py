"""Take the library's trained connector if it fits the benchmark and the settings, else train one."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.embedded.training.smol import SmolRecipe, make_trained_part

    backbone = config.backbones[snakemake.wildcards.backbone]
    benchmark, base = Path(snakemake.input.training).parent, Path(snakemake.input.base)
    recipe = SmolRecipe(benchmark, Path(snakemake.input.features), base, backbone, config.smol, config.seed)
    make_trained_part(recipe, Path(snakemake.output[0]))
