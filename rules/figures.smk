# The paper's figures, from records and encoded states.


BOTH = ("token", "mmedit")  # criteria by which a figure is drawn


rule sweep_figure:
    input:
        records=sweep_files,
    output:
        **figure_files("{sweep}", "sweep", BOTH),
    log:
        "logs/sweep_figure/{sweep}.log",
    benchmark:
        f"{STAGES}/benchmarks/sweep_figure/{{sweep}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("draw_sweep", data=["reporting/*.mplstyle"]),
        sweep=lambda wildcards: fields(CONFIG.figures.sweep(wildcards.sweep)),
        statistics=fields(CONFIG.statistics),
    message:
        "Draw the sweep {wildcards.sweep}."
    script:
        "../workflow_scripts/draw_sweep.py"


rule fig2a:
    input:
        records=records_of_cells(
            CONFIG.figures.backbones,
            [(task, 1) for task in CONFIG.figures.tasks],
            CONFIG.figures.fig2a,
        ),
    output:
        **figure_files("fig2a", criteria=BOTH),
    log:
        "logs/fig2a.log",
    benchmark:
        f"{STAGES}/benchmarks/fig2a.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("draw_methods", data=["reporting/*.mplstyle"]),
        figures=fields(CONFIG.figures, "backbones", "tasks", "fig2a"),
        statistics=fields(CONFIG.statistics),
    message:
        "Draw generality against locality of the methods as they are (Fig. 2a)."
    script:
        "../workflow_scripts/draw_methods.py"


rule joint:
    input:
        edits=f"results/{CELL_TABLES[0]}_edits.csv",
    output:
        **figure_files("joint"),
    log:
        "logs/joint.log",
    benchmark:
        f"{STAGES}/benchmarks/joint.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("draw_joint", data=["reporting/*.mplstyle"]),
    message:
        "Draw what becomes of each edit as a whole."
    script:
        "../workflow_scripts/draw_joint.py"


rule fig5a:
    input:
        encodings=of_figures("knowledge/{backbone}/encodings.parquet"),
    output:
        **figure_files("fig5a"),
    log:
        "logs/fig5a.log",
    benchmark:
        f"{STAGES}/benchmarks/fig5a.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("draw_spaces", data=["reporting/*.mplstyle"]),
        backbones=CONFIG.figures.backbones,
        fig5a=fields(CONFIG.figures.fig5a, "perplexity"),
        seed=CONFIG.seed,
    message:
        "Draw both encoder spaces (Fig. 5a)."
    script:
        "../workflow_scripts/draw_spaces.py"


if ONE_STEP:

    rule qualitative:
        input:
            records=records_of(ONE_STEP, REPEATS[:1]),
            cases=cases_of("eval", CONFIG.tables[ONE_STEP].tasks, BENCHMARK),
            images=IMAGES,
            questions=user_questions(CONFIG.tables[ONE_STEP].backbones),
        output:
            page=shown("results/qualitative.html", file="page"),
            png=shown("results/figures/qualitative.png", file="PNG"),
        log:
            "logs/qualitative.log",
        benchmark:
            f"{STAGES}/benchmarks/qualitative.tsv"
        threads: CONFIG.threads
        resources:
            mem_mb=TABLES,
        params:
            code=lib("write_qualitative", data=["reporting/*.mplstyle", "reporting/templates/*", *TEXT_QUESTIONS]),
            image_roots=IMAGE_ROOTS,
            files=files_below(*user_questions(CONFIG.tables[ONE_STEP].backbones)),
            picture_files=pictures,
            pictures=CONFIG.benchmark.pictures,
            text_locality={name: CONFIG.backbones[name].text_locality for name in CONFIG.tables[ONE_STEP].backbones},
            tasks=CONFIG.tables[ONE_STEP].tasks,
            methods=CONFIG.tables[ONE_STEP].methods,
            examples=CONFIG.figures.qualitative,
            seed=CONFIG.seed,
        message:
            "Show some edits with the answers of every method."
        script:
            "../workflow_scripts/write_qualitative.py"


# What the report shows: every criterion of each table, and figures by both criteria where they are drawn so.
REPORTED = expand("results/{table}{ending}.csv", table=CONFIG.tables, ending=[*ENDINGS.values(), "_differences"])
REPORTED += expand("results/{table}_{kind}.csv", table=CELL_TABLES, kind=["edits", "cost"])


rule report_page:
    input:
        tables=REPORTED,
        control="results/positive_control.csv",
        diagnostics="results/diagnostics.csv",
        checks=expand(f"{STAGES}/knowledge/{{backbone}}/encoder_checks.csv", backbone=SHOWN),
        figures=[
            *(figure.replace(".pdf", ".png") for figure in FIGURES),
            *expand("results/figures/{figure}_mmedit.png", figure=["fig2a", *CONFIG.figures.sweeps]),
            *["results/figures/qualitative.png"] * bool(ONE_STEP),
            *["results/figures/contact_sheet.png"] * EMBEDDED,
        ],
        counts=COUNTS,
        texts=[] if EMBEDDED else of_each_backbone("texts/{backbone}/counts.json", SHOWN),
        examples=["results/qualitative.html"] * bool(ONE_STEP),
    output:
        page=report(
            "results/report.html",
            caption="captions/report_page.rst",
            category="Report",
            labels={"file": "page"},
        ),
    log:
        "logs/report_page.log",
    benchmark:
        f"{STAGES}/benchmarks/report_page.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("write_report", data=["reporting/templates/*"]),
        benchmarks=f"{STAGES}/benchmarks",
        report=fields(report_parts(CONFIG)),
    message:
        "Write the report."
    script:
        "../workflow_scripts/write_report.py"
