"""What can go wrong in a way that a person can mend: one clear line that steers no terminal, and an exit code."""

from __future__ import annotations


class DigitsweepError(Exception):
    """The work failed. The message is for a person: it states the rule or the fact, then the values, then the way out."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: the message, whose lines say all that a person needs."""
        return [f"{type(self).__name__}: {printable(line)}" for line in str(self).rstrip("\n").split("\n")]


class InputError(DigitsweepError):
    """Something given by a person is wrong: a key, a value, a file, an option.

    A message may hold several lines, one for each thing that is wrong."""

    exit_code = 2


class DataUnavailableError(InputError):
    """The data is named correctly but is not available: not in a folder, in the cache, or from the network."""


class RefusedError(DigitsweepError):
    """What was asked for is possible, but a rule says no: a gate's, or that of two promotions at once one comes first."""

    exit_code = 3


def printable(text: str) -> str:
    """A text as one line that is only read: what would steer a terminal, such as an escape sequence, a line's end or a sign
    that turns the writing's direction, stands there as `\\x1b`, `\\n` or `\\u202e`."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign == "\xa0" else ascii(sign)[1:-1] for sign in text)
