"""A page in a real browser, Debian's headless Chromium: what it shows, what it says on the console."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

BROWSER = shutil.which("chromium")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here (Debian: apt-get install chromium)")
SECONDS = 180
# Runs behind the page's own scripts.
ASKED = """<script>addEventListener("load", () => {{
  {script};
  const root = document.documentElement;
  root.dataset.pictures = document.images.length;
  root.dataset.broken = [...document.images].filter((each) => !each.naturalWidth).length;
  root.dataset.beyond = root.scrollWidth - root.clientWidth;
}})</script>"""


@dataclass(frozen=True)
class Seen:
    """A page as the browser has it: its elements as text, lines on the console, pictures, broken ones, pixels to the
    right of the window, and a picture of the window."""

    elements: str
    console: tuple[str, ...]
    pictures: int
    broken: int
    beyond: int
    shot: Image.Image


def look(page, folder, script="", size=(1200, 1600)):
    """Open a page's text in a window of some size; `script` runs once it is loaded."""
    folder = Path(folder)
    (folder / "page.html").write_text(page + ASKED.format(script=script), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=3000"]
    places = [f"--user-data-dir={folder / 'profile'}", f"--screenshot={folder / 'shot.png'}", "--dump-dom"]
    command = [BROWSER, *options, f"--window-size={size[0]},{size[1]}", *places, (folder / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    counts = [int(re.search(rf'data-{name}="(\d+)"', done.stdout)[1]) for name in ("pictures", "broken", "beyond")]
    console = tuple(re.findall(r"INFO:CONSOLE.*?\] (.*)", done.stderr))
    return Seen(done.stdout, console, *counts, Image.open(folder / "shot.png"))
