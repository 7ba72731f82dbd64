"""Imported by the process that workers are forked from: what they all need, once, in memory that they share."""

from contextlib import suppress

with suppress(Exception):  # a worker imports it again, and can say what is wrong
    from digitsweep.quiet import import_tensorflow_quietly

    import_tensorflow_quietly(alone=True)
    from digitsweep import training

    training.settle()
