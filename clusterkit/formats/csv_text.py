"""Text for CSV files that people open in a spreadsheet, which must not run it as a formula."""

# A spreadsheet runs a cell that starts with one of these; the apostrophe itself is escaped
# too, so that reading gives back exactly what was written.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def safe_csv_text(value: str) -> str:
    """Write text so that no spreadsheet runs it as a formula.

    >>> safe_csv_text("=1+1"), safe_csv_text("benign")
    ("'=1+1", 'benign')
    """
    return "'" + value if value.startswith(_FORMULA) else value


def restore_csv_text(value: str) -> str:
    """Undo `safe_csv_text`.

    >>> restore_csv_text("'=1+1"), restore_csv_text("'tis")
    ('=1+1', "'tis")
    """
    return value[1:] if value.startswith("'") and value[1:].startswith(_FORMULA) else value
