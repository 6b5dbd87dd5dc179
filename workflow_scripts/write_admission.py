"""Write what the admission tests of all backbones say."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.reporting.admission import write_admission

    scores, readouts = ([Path(path) for path in snakemake.input[name]] for name in ("scores", "readouts"))
    write_admission(scores, readouts, snakemake.output, config.statistics)
