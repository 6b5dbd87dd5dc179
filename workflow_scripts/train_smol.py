"""Take the library's trained connector if it fits the benchmark and the settings, else train one."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.backbones.pretrain_smol import Recipe, make_trained_part

    backbone = config.backbones[snakemake.wildcards.backbone]
    benchmark, base = Path(snakemake.input.training).parent, Path(snakemake.input.base)
    recipe = Recipe(benchmark, Path(snakemake.input.features), base, backbone, config.smol, config.seed)
    make_trained_part(recipe, Path(snakemake.output[0]))
