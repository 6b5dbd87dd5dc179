"""Convert an original checkpoint into a save_pretrained folder."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.convert import convert_original

    convert_original(job.backbone, job.outputs.folder)
