"""Write how often the judge and `normalised` agree, from the verdicts on each table's records."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.config.judge import JudgeConfig
    from unike_lib.reporting.judge import write_judge

    verdicts = dict(zip(job.params.tables, job.inputs.verdicts, strict=True))
    write_judge(verdicts, job.outputs, job.section("judge", JudgeConfig))
