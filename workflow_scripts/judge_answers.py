"""Let a language model judge the texts of a table's records."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.benchmark.cases import read_files
    from unike_lib.config.judge import JudgeConfig
    from unike_lib.evaluation.judge import judge_records, open_judge
    from unike_lib.io import write_table

    inputs, probes = job.inputs, {}
    for path, (backbone, questions) in zip(inputs.cases, job.params.asked, strict=True):
        for case in read_files([path], questions):
            probes |= {(backbone, case.request.id, probe.kind): probe for probe in case.probes}
    judge = open_judge(job.section("judge", JudgeConfig))
    write_table(job.outputs.verdicts, judge_records(inputs.records, probes, judge.margins), job.fingerprint)
