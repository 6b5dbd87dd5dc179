"""Show some edits with the answers of every method before and after, as a page and as a picture."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.benchmark.cases import read_cases
    from unike_lib.reporting.qualitative import choose_examples, write_qualitative_page
    from unike_lib.reporting.qualitative_figure import draw_qualitative

    inputs, table, images = snakemake.input, config.table1, snakemake.params.image_roots
    cases = {
        (name, task): read_cases(path, task, config.backbones[name].text_locality)
        for name in table.backbones
        for task, path in zip(table.tasks, inputs.cases, strict=True)
    }
    examples = choose_examples([Path(path) for path in inputs.records], cases, config)
    write_qualitative_page(examples, images, Path(snakemake.output.page))
    draw_qualitative(examples, images, Path(snakemake.output.png))
