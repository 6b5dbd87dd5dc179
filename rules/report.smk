# Figures from records, and tables about backbones, encoders and settings.


rule admission_table:
    input:
        scores=of_each_backbone("admission/{backbone}.parquet", SHOWN),
        readouts=of_each_backbone("admission/{backbone}_readout.csv", SHOWN),
    output:
        csv="results/admission.csv",
        readout="results/admission_readout.csv",
        markdown=report(
            "results/admission.md",
            caption="captions/admission.rst",
            category="Tables",
            subcategory="admission",
            labels={"criterion": "all", "file": "Markdown"},
        ),
        windows=of_each_backbone("admission/{backbone}_windows.csv", SHOWN),
    log:
        "logs/admission_table.log",
    benchmark:
        f"{STAGES}/benchmarks/admission_table.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("write_admission"),
        statistics=fields(CONFIG.statistics),
    message:
        "Write the verdicts of the admission tests."
    script:
        "../workflow_scripts/write_admission.py"


rule diagnostics_table:
    input:
        tables=of_each_backbone("diagnostics/{backbone}.csv", SHOWN),
    output:
        csv="results/diagnostics.csv",
        markdown=report(
            "results/diagnostics.md",
            caption="captions/diagnostics.rst",
            category="Tables",
            subcategory="diagnostics",
            labels={"criterion": "all", "file": "Markdown"},
        ),
    log:
        "logs/diagnostics_table.log",
    benchmark:
        f"{STAGES}/benchmarks/diagnostics_table.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("write_diagnostics"),
    message:
        "Write what the backbones know before any edit."
    script:
        "../workflow_scripts/write_diagnostics.py"


rule forgetting:
    input:
        records=records_of("table2"),
    output:
        pdf="results/figures/forgetting.pdf",
        png=report(
            "results/figures/forgetting.png",
            caption="captions/forgetting.rst",
            category="Figures",
            subcategory="forgetting",
            labels={"file": "PNG"},
        ),
        csv="results/figures/forgetting.csv",
    log:
        "logs/forgetting.log",
    benchmark:
        f"{STAGES}/benchmarks/forgetting.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("draw_forgetting", data=["reporting/*.mplstyle"]),
        methods=CONFIG.table2.methods,
        statistics=fields(CONFIG.statistics),
    message:
        "Draw what later edits of a session leave of earlier ones."
    script:
        "../workflow_scripts/draw_forgetting.py"


rule encoder_losses:
    input:
        losses=of_each_backbone("knowledge/{backbone}/encoder_losses.csv"),
    output:
        pdf="results/figures/encoder_losses.pdf",
        png=report(
            "results/figures/encoder_losses.png",
            caption="captions/encoder_losses.rst",
            category="Figures",
            subcategory="encoder_losses",
            labels={"file": "PNG"},
        ),
        csv="results/figures/encoder_losses.csv",
    log:
        "logs/encoder_losses.log",
    benchmark:
        f"{STAGES}/benchmarks/encoder_losses.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("draw_encoder_losses", data=["reporting/*.mplstyle"]),
        backbones=CONFIG.table1.backbones,
    message:
        "Draw the training of the contrastive encoders."
    script:
        "../workflow_scripts/draw_encoder_losses.py"


rule tuning:
    input:
        trials=of_each_backbone("tuning/{backbone}/{method}.csv", method=list(CONFIG.tuning.grids)),
    output:
        csv=report(
            "results/tuning.csv",
            caption="captions/tuning.rst",
            category="Tables",
            subcategory="tuning",
            labels={"criterion": "token", "file": "CSV"},
        ),
    log:
        "logs/tuning.log",
    benchmark:
        f"{STAGES}/benchmarks/tuning.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("write_tuning"),
    message:
        "Write the table of all searches."
    script:
        "../workflow_scripts/write_tuning.py"
