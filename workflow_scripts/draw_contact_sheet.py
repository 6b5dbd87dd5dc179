"""Draw some evaluation edits with their pictures and questions."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake):
    from unike_lib.embedded.world.contact_sheet import draw_contact_sheet

    cases = [Path(path) for path in snakemake.input.cases]
    draw_contact_sheet(cases, Path(snakemake.input.images).parent, Path(snakemake.output[0]))
