"""Write what the positive control of every backbone says."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.reporting.control_table import write_positive_control

    write_positive_control(job.inputs.scores, job.inputs.readouts, job.outputs, job.statistics)
