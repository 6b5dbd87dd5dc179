"""Write the report of the run: tables, figures, claims, settings, times."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.benchmark.missing import counts_notes
    from unike_lib.benchmark.texts import texts_notes
    from unike_lib.benchmark.versions import versions_notes
    from unike_lib.reporting.report import ReportSources, write_report
    from unike_lib.table_parts import ReportParts

    inputs, run = job.inputs, job.section("report", ReportParts)
    sources = ReportSources(
        tables=inputs.tables,
        control=inputs.control,
        diagnostics=inputs.diagnostics,
        checks=dict(zip(run.backbones, inputs.checks, strict=True)),
        figures=inputs.figures,
        benchmarks=Path(job.params.benchmarks),
    )
    notes = [note for path in inputs.counts for note in (*counts_notes(path), *versions_notes(path))]
    write_report(sources, job.outputs.page, run, notes + texts_notes(inputs.texts))
