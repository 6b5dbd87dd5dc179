"""Write what edits of a long session cost in time and memory."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.reporting.retention import write_cost

    write_cost(job.inputs.tables, job.outputs.csv)
