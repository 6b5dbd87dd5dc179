"""Which version of a benchmark's files was read: a hash of each, and its name where that is known.

E-VQA circulates in two versions: 964 of the 2,093 targets of its evaluation differ. Numbers compare only where files
agree.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unike_lib.checksum import whole_digest
from unike_lib.io import file_digest, read_json

VERSION = "version"  # key of counts.json
SHORT = 12
# SHA-256 of whole files -> what they are: the four of MMEdit (Cheng et al. 2023) as released with zjunlp/EasyEdit, of
# 6,345 and 2,093 records of E-VQA, 2,849 and 1,000 of E-IC. The other E-VQA (donglgcn/EasyEdit, branch MMOKVQA) has
# further keys in each record, and other targets; its whole file was not at hand.
KNOWN: Mapping[str, str] = {
    "82e242bd7fd3ab855413ba7972665c33bca920ae3b0982b71cae2af1b61700b0": "MMEdit's E-VQA, train",
    "7299743ebe2854b240c6fe6f252fdb0c2ae3993ba2e5b23f07c6fee54ed1bcc0": "MMEdit's E-VQA, evaluation",
    "583e306d72d06ad9106544e74cbeff5cc6105720b0cdfac675754d2f08ea9a20": "MMEdit's E-IC, train",
    "7c2215a419b82249c957abd12b850ef3c962d2de0d68f092c073f10bb63c2e83": "MMEdit's E-IC, evaluation",
}


def version_of(path: Path) -> dict[str, str]:
    """Return the SHA-256 of a file, as `sha256sum` has it, or of all below a folder; and its name, if known."""
    digest = file_digest(path) if path.is_dir() else whole_digest(path)
    return {"sha256": digest} | ({"name": KNOWN[digest]} if digest in KNOWN else {})


def versions_of(path: Path) -> dict[str, dict[str, str]]:
    """Return file -> version, of all files that a counts.json tells of, in their order; empty: it has no versions."""
    counts: Mapping[str, Mapping[str, Any]] = read_json(path)
    return {file: dict(count[VERSION]) for file, count in counts.items() if VERSION in count}


def versions_notes(path: Path) -> list[str]:
    """Say in one sentence which files were read, as `versions_of`; nothing where no versions are known."""
    said = [
        f"{file} {version['sha256'][:SHORT]}" + (f" ({version['name']})" if "name" in version else "")
        for file, version in versions_of(path).items()
    ]
    return [f"Files of the benchmark, by SHA-256: {', '.join(said)}."] if said else []
