# Tables and figures from records.


rule table1:
    input:
        records=table1_records(),
        admission="results/admission.csv",
    output:
        token="results/table1.csv",
        mmedit="results/table1_mmedit.csv",
        exact="results/table1_exact.csv",
        generated="results/table1_generated.csv",
        markdown=report("results/table1.md", category="Tables"),
    log:
        "logs/table1.log",
    benchmark:
        f"{STAGES}/benchmarks/table1.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=1500,
    params:
        code=lib("write_table1", data=["reporting/paper/*.csv"]),
        table=CONFIG.table1.model_dump(mode="json"),
        families={name: CONFIG.backbones[name].family for name in CONFIG.table1.backbones},
        statistics=CONFIG.statistics.model_dump(mode="json"),
        seed=CONFIG.seed,
    script:
        "../workflow_scripts/write_table1.py"


rule admission_table:
    input:
        scores=of_each_backbone("admission/{backbone}.parquet"),
        readouts=of_each_backbone("admission/{backbone}_readout.csv"),
    output:
        csv="results/admission.csv",
        readout="results/admission_readout.csv",
        markdown=report("results/admission.md", category="Tables"),
        windows=of_each_backbone("admission/{backbone}_windows.csv"),
    log:
        "logs/admission_table.log",
    benchmark:
        f"{STAGES}/benchmarks/admission_table.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=1000,
    params:
        code=lib("write_admission"),
        statistics=CONFIG.statistics.model_dump(mode="json"),
        seed=CONFIG.seed,
    script:
        "../workflow_scripts/write_admission.py"


rule diagnostics_table:
    input:
        tables=of_each_backbone("diagnostics/{backbone}.csv"),
    output:
        csv="results/diagnostics.csv",
        markdown="results/diagnostics.md",
    log:
        "logs/diagnostics_table.log",
    benchmark:
        f"{STAGES}/benchmarks/diagnostics_table.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=500,
    params:
        code=lib("write_diagnostics"),
    script:
        "../workflow_scripts/write_diagnostics.py"


rule encoder_losses:
    input:
        losses=of_each_backbone("knowledge/{backbone}/encoder_losses.csv"),
    output:
        pdf="results/figures/encoder_losses.pdf",
        png=report("results/figures/encoder_losses.png", category="Figures"),
        csv="results/figures/encoder_losses.csv",
    log:
        "logs/encoder_losses.log",
    benchmark:
        f"{STAGES}/benchmarks/encoder_losses.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=1000,
    params:
        code=lib("draw_encoder_losses", data=["reporting/*.mplstyle"]),
        backbones=CONFIG.table1.backbones,
    script:
        "../workflow_scripts/draw_encoder_losses.py"


rule tuning:
    input:
        trials=of_each_backbone(
            "tuning/{backbone}/{task}/{method}.csv",
            task=CONFIG.table1.tasks,
            method=list(CONFIG.tuning.grids),
        ),
    output:
        "results/tuning.csv",
    log:
        "logs/tuning.log",
    benchmark:
        f"{STAGES}/benchmarks/tuning.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=500,
    params:
        code=lib("write_tuning"),
    script:
        "../workflow_scripts/write_tuning.py"
