"""Join the trials of all methods into one table."""

from unike_lib.runtime import Stage

with Stage(snakemake):
    import pandas as pd
    from unike_lib.io import atomic_path

    table = pd.concat([pd.read_csv(path) for path in snakemake.input.trials], ignore_index=True)
    with atomic_path(snakemake.output[0]) as temporary:
        table.to_csv(temporary, index=False)
