"""Tables as CSV files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rlhf_env.files import write_atomically

# What a spreadsheet takes for the beginning of a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table that a spreadsheet can open without running any of its cells."""
    safe = table.rename(columns=_safe_cell)
    for name in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[name]):
            safe[name] = safe[name].map(_safe_cell)
    write_atomically(path, safe.to_csv(index=False, lineterminator="\n").encode())


def read_csv(path: Path) -> pd.DataFrame:
    """Return a table that `write_csv` wrote; an empty one if there is none.

    Raises:
        ValueError: if the file is not such a table.
    """
    try:
        table = pd.read_csv(path, encoding="utf-8")
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return pd.DataFrame()
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be a CSV table in UTF-8, got: {error}") from error
    for name in table.columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].map(_plain_cell)
    return table.rename(columns=_plain_cell)


def as_csv(table: pd.DataFrame) -> bytes:
    """Return a table as the content of a CSV file, six significant digits per number."""
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()


def _safe_cell(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


def _plain_cell(cell: object) -> object:
    if isinstance(cell, str) and cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS):
        return cell[1:]
    return cell
