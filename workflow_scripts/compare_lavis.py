"""Compare the logits of LAVIS's Blip2OPT with those of the converted checkpoint."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.backbones.parity import compare_lavis
    from unike_lib.io import write_csv

    reference, converted = Path(snakemake.input.reference), Path(snakemake.output.converted)
    write_csv(snakemake.output.csv, compare_lavis(reference, converted))
