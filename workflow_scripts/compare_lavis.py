"""Compare the logits of LAVIS's Blip2OPT with those of the converted checkpoint."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.parity import compare_lavis
    from unike_lib.io import write_csv

    write_csv(job.outputs.csv, compare_lavis(job.inputs.reference, job.outputs.converted))
