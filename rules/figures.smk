# The paper's figures, from records and encoded states.


rule sweep_figure:
    input:
        records=sweep_files,
    output:
        pdf="results/figures/{sweep}.pdf",
        png=report(
            "results/figures/{sweep}.png",
            caption="captions/sweep.rst",
            category="Figures",
            subcategory="{sweep}",
            labels={"file": "PNG"},
        ),
        csv="results/figures/{sweep}.csv",
    log:
        "logs/sweep_figure/{sweep}.log",
    benchmark:
        f"{STAGES}/benchmarks/sweep_figure/{{sweep}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=1500,
    params:
        code=lib("draw_sweep", data=["reporting/*.mplstyle"]),
        sweep=lambda wildcards: CONFIG.figures.sweep(wildcards.sweep).model_dump(mode="json"),
        statistics=CONFIG.statistics.model_dump(mode="json"),
        seed=CONFIG.seed,
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
        pdf="results/figures/fig2a.pdf",
        png=report(
            "results/figures/fig2a.png",
            caption="captions/fig2a.rst",
            category="Figures",
            subcategory="fig2a",
            labels={"file": "PNG"},
        ),
        csv="results/figures/fig2a.csv",
    log:
        "logs/fig2a.log",
    benchmark:
        f"{STAGES}/benchmarks/fig2a.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=1500,
    params:
        code=lib("draw_methods", data=["reporting/*.mplstyle"]),
        methods=CONFIG.figures.fig2a,
        statistics=CONFIG.statistics.model_dump(mode="json"),
        seed=CONFIG.seed,
    script:
        "../workflow_scripts/draw_methods.py"


rule fig5a:
    input:
        encodings=of_figures("knowledge/{backbone}/encodings.parquet"),
    output:
        pdf="results/figures/fig5a.pdf",
        png=report(
            "results/figures/fig5a.png",
            caption="captions/fig5a.rst",
            category="Figures",
            subcategory="fig5a",
            labels={"file": "PNG"},
        ),
        csv="results/figures/fig5a.csv",
    log:
        "logs/fig5a.log",
    benchmark:
        f"{STAGES}/benchmarks/fig5a.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=1500,
    params:
        code=lib("draw_spaces", data=["reporting/*.mplstyle"]),
        perplexity=CONFIG.figures.fig5a.perplexity,
        seed=CONFIG.seed,
    script:
        "../workflow_scripts/draw_spaces.py"


rule qualitative:
    input:
        records=records_of("table1", REPEATS[:1]),
        cases=expand("{folder}/eval_{task}.json", folder=BENCHMARK, task=CONFIG.table1.tasks),
        images=IMAGES,
        questions=user_questions(CONFIG.table1.backbones),
    output:
        page=report(
            "results/qualitative.html",
            caption="captions/qualitative.rst",
            category="Figures",
            subcategory="qualitative",
            labels={"file": "page"},
        ),
        png=report(
            "results/figures/qualitative.png",
            caption="captions/qualitative.rst",
            category="Figures",
            subcategory="qualitative",
            labels={"file": "PNG"},
        ),
    log:
        "logs/qualitative.log",
    benchmark:
        f"{STAGES}/benchmarks/qualitative.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=1500,
    params:
        code=lib("write_qualitative", data=["reporting/*.mplstyle", "reporting/templates/*", *TEXT_QUESTIONS]),
        image_roots=IMAGE_ROOTS,
        text_locality={name: CONFIG.backbones[name].text_locality for name in CONFIG.table1.backbones},
        methods=CONFIG.table1.methods,
        examples=CONFIG.figures.qualitative,
        seed=CONFIG.seed,
    script:
        "../workflow_scripts/write_qualitative.py"


# Results tables that the report shows: every criterion of each.
REPORTED = expand(
    "results/{table}{criterion}.csv",
    table=[*CONFIG.tables, "table5"],
    criterion=["", "_mmedit", "_exact", "_generated"],
)


rule report_page:
    input:
        tables=REPORTED,
        admission="results/admission.csv",
        diagnostics="results/diagnostics.csv",
        checks=expand(f"{STAGES}/knowledge/{{backbone}}/encoder_checks.csv", backbone=SHOWN),
        figures=[
            *(figure.replace(".pdf", ".png") for figure in FIGURES),
            "results/figures/qualitative.png",
            *["results/figures/contact_sheet.png"] * EMBEDDED,
        ],
        settings=f"{workflow.basedir}/config.yaml",
        examples="results/qualitative.html",
    output:
        report(
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
        mem_mb=1000,
    params:
        code=lib("write_report", data=["reporting/templates/*"]),
        backbones=SHOWN,
        benchmarks=f"{STAGES}/benchmarks",
        config=CONFIG.model_dump(mode="json"),
    script:
        "../workflow_scripts/write_report.py"
