"""Where a setting's value can come from, and what that means."""

SOURCES = {
    "paper": "UniKE, NeurIPS 2024",
    "released": "the code of UniKE's authors",
    "MMEdit": "Cheng et al. 2023",
    "VLKEB": "Huang et al. 2024",
    "T-Patcher": "Huang et al. 2023",
    "MEND": "Mitchell et al. 2022",
    "De Cao et al.": "KE, 2021",
    "SERAC": "Mitchell et al. 2022",
    "WISE": "Wang et al. 2024, as EasyEdit ships it",
    "EasyEdit": "the code of zjunlp/EasyEdit, commit 14cea82",
    "MemEIC": "the code of MemEIC (NeurIPS 2025), commit d7563bc",
    "M-ORE": "ICML 2026",
    "ScopeEdit": "2026, arXiv 2607.01978",
    "BalancEdit": "Guo et al. 2025",
    "MSCKE": "the code of zeng-zhen/FGVEdit, commit 8cd6cd4",
    "LiveEdit": "CVPR 2025, the code at commit b46217b",
    "tuned": "chosen on development edits, as docs/science.md tells",
    "ours": "a choice of this project",
}
