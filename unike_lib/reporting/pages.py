"""HTML pages from templates: self-contained, with pictures inside."""

import base64
import io
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL.Image import Image

TEMPLATES = Path(__file__).with_name("templates")


def render_page(template: str, **values: Any) -> str:
    """Return a page from a template of the folder `templates`; text is escaped, a missing value is an error."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def picture_address(picture: Image) -> str:
    """Return a picture as a data address for `src`."""
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return _address(stream.getvalue())


def file_address(path: Path) -> str:
    """Return a PNG file as a data address for `src`."""
    return _address(path.read_bytes())


def _address(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
