"""What can go wrong in a way that a person can mend: one clear line, and an exit code."""

from __future__ import annotations


class DigitsweepError(Exception):
    """The work failed. The message is for a person: it states the rule or the fact, then the values, then the way out."""

    exit_code = 1


class InputError(DigitsweepError):
    """Something given by a person is wrong: a key, a value, a file, an option.

    A message may hold several lines, one for each thing that is wrong."""

    exit_code = 2


class DataUnavailableError(InputError):
    """The data is well described, but cannot be had here: not in a folder, not in the cache, and not from the network."""


class RefusedError(DigitsweepError):
    """What was asked for is possible, but a rule says no: a gate's, or that of two promotions at once one comes first."""

    exit_code = 3
