"""Join the trials of all methods into one table."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    import pandas as pd
    from unike_lib.io import write_csv

    write_csv(job.outputs.csv, pd.concat([pd.read_csv(path) for path in job.inputs.trials], ignore_index=True), None)
