"""HTML and SVG that is escaped by construction: text stays text unless this module made it.

Names and details in a report come from the network. Every child that is a plain string is escaped; only
:func:`tag` and :func:`join` make :class:`Markup`.
"""

import html
from collections.abc import Iterable

__all__ = ["Markup", "join", "tag", "text"]

_CLOSED = frozenset({"circle", "line", "meta", "path", "rect"})


class Markup(str):
    """A string that is HTML already."""

    __slots__ = ()


def text(value: object) -> Markup:
    """The value as HTML text, also fit for an attribute.

    Line ends become spaces. Other characters that do not print (controls, and marks that reorder text, which
    could make one name look like another) become U+FFFD.
    """
    if isinstance(value, Markup):
        return value
    shown = "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in str(value))
    return Markup(html.escape(shown, quote=True))


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """One element. Children are escaped unless they are Markup.

    attributes: ``class_`` is class and ``stroke_width`` is stroke-width; None leaves the attribute out.
    """
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    opening = name + "".join(f' {key}="{text(str(value))}"' for key, value in pairs)
    if name in _CLOSED and not children:
        return Markup(f"<{opening}/>")
    return Markup(f"<{opening}>{join(children)}</{name}>")


def join(parts: Iterable[object]) -> Markup:
    """The parts after each other, escaped unless they are Markup."""
    return Markup("".join(text(part) for part in parts))
