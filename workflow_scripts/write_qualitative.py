"""Show some edits with the answers of every method before and after, as a page and as a picture."""

from functools import partial

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.benchmark.cases import read_cases
    from unike_lib.benchmark.images import load_image
    from unike_lib.reporting.qualitative import choose_examples, write_qualitative_page
    from unike_lib.reporting.qualitative_figure import draw_qualitative

    inputs, params = job.inputs, job.params
    cases = {
        (name, task): read_cases(path, task, questions)
        for name, questions in params.text_locality.items()
        for task, path in zip(params.tasks, inputs.cases, strict=True)
    }
    examples = choose_examples(inputs.records, cases, params.methods, params.examples, params.seed)
    load = partial(load_image, params.image_roots, pictures=params.pictures)
    write_qualitative_page(examples, load, job.outputs.page)
    draw_qualitative(examples, load, job.outputs.png)
