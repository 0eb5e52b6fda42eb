"""Pages of one file that need nothing else, from the templates of the package."""

from __future__ import annotations

from pathlib import Path

import jinja2

from regcore.atomic import replacing


def write_page(path: Path, template: str, **values: object) -> None:
    """Fill a template, every value escaped, and write the page.

    Args:
        path: file to write.
        template: name of a file in ``templates``.
        values: what the template names.

    Raises:
        ValueError: the file cannot be written.
    """
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    text = environment.get_template(template).render(zip=zip, **values)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
