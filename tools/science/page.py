"""Render docs/science.md from its template and the numbers in docs/science/."""

import re
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from tools.science.numbers import Numbers

DOCS = Path(__file__).parents[2] / "docs"
TEMPLATE, NUMBERS, PAGE = DOCS / "science.template.md", DOCS / "science", DOCS / "science.md"
EXPRESSION = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)


def page_text(template: str, numbers: Numbers) -> str:
    """Return the page; what the template asks for and the numbers have not is an error."""
    environment = Environment(  # a page of Markdown: nothing to escape
        autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(template).render(n=numbers)


def typed_numbers(template: str) -> list[str]:
    """Return the results-like numbers (a decimal point or a percent sign) that stand outside of expressions."""
    words = EXPRESSION.sub("", template)
    return re.findall(r"(?<![\w.])[+-]?\d+(?:\.\d+)?%|(?<![\w.])[+-]?\d*\.\d+", words)
