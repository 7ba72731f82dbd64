"""Imported by the process that workers are forked from, so that TensorFlow is imported once, into memory that they share."""

from contextlib import suppress

with suppress(Exception):  # a worker imports it again, and reports the error
    from digitsweep.training.startup import import_tensorflow_quietly

    import_tensorflow_quietly(alone=True)
    from digitsweep.training.loop import settle

    settle()
