# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing XML with each namespace declared where it is used, by the prefix that it had.

ElementTree declares them all at the root, so that a small change would touch other tools' metadata too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

_XML = "http://www.w3.org/XML/1998/namespace"
_SPACES = {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}


def write_xml(root: Element, prefixes: Mapping[str, str]) -> str:
    """The document.

    Args:
        prefixes: By namespace; others get one made up.
    """
    return "".join(_write(root, prefixes, {_XML: "xml"}))


def _write(element: Element, prefixes: Mapping[str, str], outer: Mapping[str, str]) -> Iterator[str]:
    scope, declared = dict(outer), {}
    for name in (element.tag, *element.attrib):
        uri = _split(name)[0]
        if uri and uri not in scope:
            prefix = prefixes.get(uri) or f"ns{len(scope)}"
            scope = {other: taken for other, taken in scope.items() if taken != prefix}
            scope[uri] = prefix
            declared[f"xmlns:{prefix}"] = uri
    tag = _name(element.tag, scope)
    attributes = {**declared, **{_name(name, scope): value for name, value in element.attrib.items()}}
    yield f"<{tag}" + "".join(f" {name}={quoteattr(value, _SPACES)}" for name, value in attributes.items())
    if len(element) or element.text:
        yield ">" + escape(element.text or "")
        for child in element:
            yield from _write(child, prefixes, scope)
            yield escape(child.tail or "")
        yield f"</{tag}>"
    else:
        yield "/>"


def _split(name: str) -> tuple[str, str]:
    if not name.startswith("{"):
        return "", name
    uri, _brace, local = name[1:].partition("}")
    return uri, local


def _name(name: str, scope: Mapping[str, str]) -> str:
    uri, local = _split(name)
    return f"{scope[uri]}:{local}" if uri else local
