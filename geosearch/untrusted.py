"""Text from strangers (file names, titles, authors, names of collections), as each medium shows it.

For pages of HTML: `geosearch.report.html`. Names in SQL: `psycopg.sql.Identifier`.
"""

from __future__ import annotations

import re
import unicodedata
from xml.sax.saxutils import escape

#: Invisible, yet no command to a terminal: what joins letters and parts of emoji.
_JOINERS = "\u200c\u200d"
# XML 1.0 has no place for these.
_NOT_IN_XML = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF], " ")
_MAP_TIP = re.compile(r"(?<=<mapTip>).*?(?=</mapTip>)", re.DOTALL)
_EXPRESSION = re.compile(r"\[% (.*?) %\]")


def for_terminal(text: str, *, keep: str = "\n\t") -> str:
    r"""Text without commands to a terminal: escape sequences, and marks that turn the direction.

    They are shown as `\x1b`, `\u202e`; the characters in `keep` stay.
    """
    return text if text.isprintable() else "".join(_shown(c, keep) for c in text)


def for_json(text: str) -> str:
    """JSON that does nothing to a terminal, and can be written in UTF-8: the same value."""
    return text if text.isprintable() else "".join(map(_in_json, text))


def for_xml(text: str) -> str:
    """The content of an element of XML."""
    return escape(text if text.isprintable() else text.translate(_NOT_IN_XML))


def for_map_tips(style: str) -> str:
    """A style of QGIS (QML) whose map tips, which are HTML, show all values as text."""
    return _MAP_TIP.sub(
        lambda tip: _EXPRESSION.sub(lambda found: f"[% {_in_html(found[1])} %]", tip[0]), style
    )


def _shown(character: str, keep: str) -> str:
    if character in keep or not _commands(character):
        return character
    return ascii(character)[1:-1]


def _in_json(character: str) -> str:
    # Line ends between values, which are all the control characters that JSON has.
    return f"\\u{ord(character):04x}" if character != "\n" and _commands(character) else character


def _commands(character: str) -> bool:
    category = unicodedata.category(character)
    return category in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS


def _in_html(expression: str) -> str:
    """An expression of QGIS, in a file of XML, with its value made safe; & first."""
    for sign, name in (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot")):
        expression = f"replace({expression}, '{escape(sign)}', '&amp;{name};')"
    return expression
