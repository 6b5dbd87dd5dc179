"""Write the report of the run: tables, figures, claims, settings, times."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.benchmark.missing import counts_notes
    from unike_lib.reporting.report import ReportSources, write_report

    inputs, params = snakemake.input, snakemake.params
    checks = {name: Path(path) for name, path in zip(params.backbones, inputs.checks, strict=True)}
    sources = ReportSources(
        tables=[Path(path) for path in inputs.tables],
        admission=Path(inputs.admission),
        diagnostics=Path(inputs.diagnostics),
        checks=checks,
        figures=[Path(path) for path in inputs.figures],
        benchmarks=Path(params.benchmarks),
    )
    notes = [note for path in inputs.counts for note in counts_notes(Path(path))]
    write_report(sources, Path(snakemake.output[0]), config, notes)
