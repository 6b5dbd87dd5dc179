"""Merge the trained connector and the pretrained language model into a save_pretrained folder."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.embedded.training.smol import assemble_smol

    assemble_smol(job.inputs.base, job.inputs.trained, job.outputs.folder)
