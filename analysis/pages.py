"""HTML pages from the templates of this folder: every text is escaped, an unknown name in a template is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

FOLDER = Path(__file__).parent


def render(template: str, context: dict[str, Any]) -> str:
    """The page of a template, such as report.html.j2."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(context)


def grid(table: pd.DataFrame) -> dict[str, Any]:
    """A table as the templates take it."""
    return {"columns": list(table.columns), "rows": table.to_numpy().tolist()}
