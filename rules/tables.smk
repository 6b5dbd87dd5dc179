# The tables of the configuration, from records.

# Criterion -> what the names of its files end in.
ENDINGS = {
    each.name: "" if each.name == "token" else f"_{each.name}" for each in find_criteria(CONFIG.evaluation.criteria)
}


def table_files(name, caption):
    """The files of a table: one per criterion, one of differences, and one to read; side by side in Snakemake's report."""
    place = {"caption": caption, "category": "Tables", "subcategory": name}
    files = {
        criterion: report(f"results/{name}{ending}.csv", labels={"criterion": criterion, "file": "CSV"}, **place)
        for criterion, ending in ENDINGS.items()
    }
    labels = {"criterion": "both", "file": "UniKE minus others"}
    files["differences"] = report(f"results/{name}_differences.csv", labels=labels, **place)
    return files | {"markdown": report(f"results/{name}.md", labels={"criterion": "all", "file": "Markdown"}, **place)}


rule table:
    input:
        unpack(records_of_table),
        control=control_of_table,
        counts=COUNTS,
        tiers=counts_of_tiers,
    output:
        **table_files("{table}", "captions/table.rst"),
    log:
        "logs/table/{table}.log",
    benchmark:
        f"{STAGES}/benchmarks/table/{{table}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("write_table", data=["reporting/paper/*.csv"]),
        criteria=CRITERIA_CODE,
        table=lambda wildcards: fields(table_parts(CONFIG, wildcards.table)),
    message:
        "Write {wildcards.table}."
    script:
        "../workflow_scripts/write_table.py"
