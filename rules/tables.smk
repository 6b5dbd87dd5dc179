# Tables 1 to 5 of the paper, from records.

CRITERIA = {"token": "", "mmedit": "_mmedit", "exact": "_exact", "generated": "_generated"}


def table_files(name, caption):
    """The files of a table: one a criterion, one of differences, and one to read; side by side in Snakemake's report."""
    place = {"caption": caption, "category": "Tables", "subcategory": name}
    files = {
        criterion: report(f"results/{name}{ending}.csv", labels={"criterion": criterion, "file": "CSV"}, **place)
        for criterion, ending in CRITERIA.items()
    }
    labels = {"criterion": "both", "file": "UniKE minus others"}
    files["differences"] = report(f"results/{name}_differences.csv", labels=labels, **place)
    return files | {"markdown": report(f"results/{name}.md", labels={"criterion": "all", "file": "Markdown"}, **place)}


rule table:
    input:
        records=lambda wildcards: records_of(wildcards.table),
        admission=admission_of_table,
        counts=COUNTS,
    output:
        **table_files("{table}", "captions/table.rst"),
    log:
        "logs/{table}.log",
    benchmark:
        f"{STAGES}/benchmarks/{{table}}.tsv"
    wildcard_constraints:
        table=named(CONFIG.tables),
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("write_table", data=["reporting/paper/*.csv"]),
        table=lambda wildcards: fields(table_parts(CONFIG, wildcards.table)),
    message:
        "Write {wildcards.table}."
    script:
        "../workflow_scripts/write_table.py"


rule table5:
    input:
        one_step=records_of("table1"),
        sequential=records_of("table2"),
        admission=of_each_backbone(
            "admission/{backbone}.parquet", dict.fromkeys([*CONFIG.table1.backbones, *CONFIG.table2.backbones])
        ),
        counts=COUNTS,
    output:
        **table_files("table5", "captions/table5.rst"),
    log:
        "logs/table5.log",
    benchmark:
        f"{STAGES}/benchmarks/table5.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("write_table5", data=["reporting/paper/*.csv"]),
        table=fields(table_parts(CONFIG, "table5")),
    message:
        "Write table5, the averages of table1 and table2."
    script:
        "../workflow_scripts/write_table5.py"
