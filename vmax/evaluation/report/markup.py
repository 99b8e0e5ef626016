"""HTML put together so that nothing but markup of our own is ever markup: whatever is no `Html` is escaped."""

from __future__ import annotations

import hashlib
import html
import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from vmax.files import to_plain

VOID = ("meta", "br", "input")


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


@dataclass(frozen=True)
class Section:
    """A part of a page. `id` is its anchor; a `short` name stands in the navigation."""

    id: str
    title: str
    short: str
    content: Sequence[Html]
    classes: str = ""


@dataclass(frozen=True)
class Page:
    """A page before it is text.

    Attributes:
      figures: Plotly figures by name, as dictionaries of `data` and `layout`; `figure(name)` says where one stands.
      views: data of the page's own interactive parts, by name.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    figures: Mapping[str, Any] = field(default_factory=dict)
    views: Mapping[str, Any] = field(default_factory=dict)


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element. Children that are no `Html` are escaped, those that are None left out.

    `class_` is the attribute class, `data_x` data-x; True gives a bare attribute, None and False none.
    """
    told = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        label = key.rstrip("_").replace("_", "-")
        told += f" {label}" if value is True else f' {label}="{html.escape(str(value), quote=True)}"'
    if name in VOID:
        return Html(f"<{name}{told}>")
    return Html(f"<{name}{told}>{joined(children)}</{name}>")


def joined(children: Iterable[object]) -> Html:
    """Markup as it is, anything else escaped, one after the other."""
    return Html("".join(x if isinstance(x, Html) else html.escape(str(x)) for x in children if x is not None))


def paragraph(*children: object, class_: str | None = None) -> Html:
    """A paragraph of text."""
    return tag("p", *children, class_=class_)


def figure(name: str, caption: str, height: int = 360) -> Html:
    """The place of the Plotly figure of that name, `height` pixels high."""
    box = tag("div", class_="plot", data_figure=name, style=f"height:{height}px")
    return tag("figure", box, tag("figcaption", caption))


def table(
    headings: Sequence[object], rows: Sequence[Sequence[object]], marked: Sequence[bool] = (), texts: int = 1
) -> Html:
    """A table in a box that scrolls by itself. The first `texts` columns are texts, the others numbers; rows that are
    `marked` stand out."""

    def cell(kind: str, column: int, value: object) -> Html:
        if isinstance(value, Html) and value.startswith("<td"):
            return value
        return tag(kind, "–" if value is None else value, class_=None if column < texts else "number")

    head = tag("tr", *(cell("th", i, value) for i, value in enumerate(headings)))
    body = [
        tag("tr", *(cell("td", i, value) for i, value in enumerate(row)), class_="marked" if mark else None)
        for row, mark in zip(rows, marked or [False] * len(rows), strict=True)
    ]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="scroll", tabindex="0")


def shaded(text: str, share: float | None) -> Html:
    """A number's cell with a bar behind it, `share` of the cell wide."""
    width = None if share is None else f"--share:{100 * min(max(share, 0.0), 1.0):.0f}%"
    return tag("td", text, class_="number shaded", style=width)


def folded(title: str, *children: object, shown: bool = False) -> Html:
    """What is shown when its title is clicked."""
    return tag("details", tag("summary", title), *children, open=shown)


def code(text: str) -> Html:
    """A block of code or of a file."""
    return tag("pre", tag("code", text), tabindex="0")


def render(page: Page) -> str:
    """The whole page as text: one file, everything inside.

    Its policy of content forbids any request, and any script but the two whose checksums it names.
    """
    scripts = (_plotly(), _resource("page.js"))
    policy = "; ".join(
        (
            "default-src 'none'",
            "script-src " + " ".join(_checksum(script) for script in scripts),
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
        )
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", page.title),
        Html(f"<style>{_resource('page.css')}</style>"),
    )
    links = [tag("a", section.short, href=f"#{section.id}") for section in page.sections if section.short]
    body = tag(
        "body",
        tag("header", tag("h1", page.title), paragraph(page.subtitle, class_="subtitle")),
        tag("nav", *links, aria_label="Sections"),
        tag("main", *(_section(section) for section in page.sections)),
        Html(f'<script type="application/json" id="data">{_embedded(page)}</script>'),
        *(Html(f"<script>{script}</script>") for script in scripts),
    )
    return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'


def _section(section: Section) -> Html:
    return tag("section", tag("h2", section.title), *section.content, id=section.id, class_=section.classes or None)


def _embedded(page: Page) -> str:
    """The data as JSON in which nothing can end the element that holds it."""
    data = to_plain({"figures": page.figures, "views": page.views})
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _checksum(script: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@cache
def _resource(name: str) -> str:
    return (files("vmax.evaluation.report") / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()
