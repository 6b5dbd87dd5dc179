"""Train an embedded backbone and save it as a save_pretrained folder."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.embedded.training.pretrain import pretrain

    backbone = config.backbones[snakemake.wildcards.backbone]
    benchmark, features = Path(snakemake.input.training).parent, Path(snakemake.input.features)
    pretrain(benchmark, features, Path(snakemake.output[0]), backbone, config)
