"""What the site is made of: the repository's pages where they lie, with README.md in front, so that all links hold.

MkDocs calls `on_files` (hooks in mkdocs.yml). A new page below docs/ or examples/ is found by itself.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = "*.md", "config/*.md", "docs/**/*.md", "examples/*/*.md"
LINK = re.compile(r"\]\(([^)#\s]+)")


def site_files(root: Path) -> list[Path]:
    """The pages, and whatever else of the repository they link to, as paths from its root."""
    pages = {path for pattern in PAGES for path in root.glob(pattern) if not path.name.endswith(".template.md")}
    linked = {
        (page.parent / target).resolve()
        for page in pages
        for target in LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in target
    }
    return sorted(path.relative_to(root) for path in pages | linked if path.is_file() and path.is_relative_to(root))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put the repository's pages in the place of those of one folder; the theme's own files stay."""
    kept = [file for file in files if not file.is_documentation_page() and file.src_dir != config.docs_dir]
    ours = [File.generated(config, str(path), abs_src_path=str(ROOT / path)) for path in site_files(ROOT)]
    return Files([*kept, *ours])
