"""Merge the trained connector and the pretrained language model into a save_pretrained folder."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.embedded.training.smol import assemble_smol

    assemble_smol(Path(snakemake.input.base), Path(snakemake.input.trained), Path(snakemake.output[0]))
