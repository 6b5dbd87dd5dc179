"""Join the diagnostics of all backbones."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.reporting.tables import write_diagnostics

    write_diagnostics(job.inputs.tables, job.outputs)
