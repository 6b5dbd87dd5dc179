"""Convert an original checkpoint into a save_pretrained folder."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.backbones.convert import convert_original

    convert_original(config.backbones[snakemake.wildcards.backbone], Path(snakemake.output[0]))
