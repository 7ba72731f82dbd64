"""What a person is told of the tracking store."""

from __future__ import annotations

from digitsweep.store import first_line, without_secrets


def test_the_line_that_says_what_is_wrong() -> None:
    """Of SQLAlchemy's errors the line with the reason is shown, not its advice."""
    error = Exception(
        "(raised as a result of Query-invoked autoflush)\n(sqlite3.OperationalError) database or disk is full\n[SQL]"
    )
    assert first_line(error) == "(sqlite3.OperationalError) database or disk is full"
    assert first_line(ValueError()) == "ValueError"


def test_no_password_is_shown() -> None:
    """An address loses its user and password."""
    assert without_secrets("at http://me:secret@host:5000/x failed") == "at http://host:5000/x failed"
