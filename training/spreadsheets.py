"""Cells of tables that people open in a spreadsheet: reviews are written by anybody, and spreadsheets run formulas.

A cell that begins like a formula would be run by the spreadsheet of whoever opens it: such cells get an apostrophe
before them (OWASP, "CSV Injection"), which is taken off again where a table is read back.
"""

from __future__ import annotations

# With the byte order mark, by which Excel tells UTF-8 from the code page of its Windows.
ENCODING = "utf-8-sig"
# What spreadsheets take for the start of a formula, full-width forms and control characters included.
FORMULA_STARTS, CONTROL_STARTS = ("=", "+", "-", "@", "＝", "＋", "－", "＠"), ("\t", "\r", "\n")


def neutral(cell: str) -> str:
    """The cell as text that no spreadsheet runs.

    >>> neutral("=HYPERLINK(\\"x\\")"), neutral("핏이 좋아요")
    ('\\'=HYPERLINK("x")', '핏이 좋아요')
    """
    return f"'{cell}" if _is_formula(cell.lstrip("'")) else cell


def original(cell: str) -> str:
    """The cell before ``neutral``."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell.lstrip("'")) else cell


def _is_formula(cell: str) -> bool:
    return cell.startswith(CONTROL_STARTS) or cell.lstrip().startswith(FORMULA_STARTS)
