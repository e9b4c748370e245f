"""Makes text that came over the network safe to show on a terminal or in a log."""

import unicodedata

__all__ = ["plain"]


def plain(text: str) -> str:
    """The text on one line, its control, formatting and unassigned characters replaced by U+FFFD."""
    return "".join(
        "\ufffd" if unicodedata.category(letter).startswith(("C", "Z")) and letter != " " else letter for letter in text
    )
