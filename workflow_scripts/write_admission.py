"""Write what the admission tests of all backbones say."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.reporting.admission import write_admission

    write_admission(job.inputs.scores, job.inputs.readouts, job.outputs, job.statistics)
