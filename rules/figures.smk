# The paper's figures, from records and encoded states.


rule sweep_figure:
    input:
        records=sweep_files,
    output:
        pdf="results/figures/{sweep}.pdf",
        png=report("results/figures/{sweep}.png", category="Figures"),
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
        records=of_figures(
            "records/{backbone}/eval_{task}/k1/{method}.parquet",
            task=CONFIG.figures.tasks,
            method=CONFIG.figures.fig2a,
        ),
    output:
        pdf="results/figures/fig2a.pdf",
        png=report("results/figures/fig2a.png", category="Figures"),
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
        png=report("results/figures/fig5a.png", category="Figures"),
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
