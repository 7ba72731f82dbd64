"""What is said while TensorFlow is imported."""

from __future__ import annotations

import subprocess
import sys

WHILE_IMPORTING = """
import sys, threading
from digitsweep.training.startup import import_tensorflow_quietly
thread = threading.Thread(target=import_tensorflow_quietly)
before = sys.stderr
thread.start()
while sys.stderr is before:
    pass
print("a line of ours", file=sys.stderr)
print(thread.is_alive())
thread.join()
assert sys.stderr is before
"""


def test_our_own_lines_are_heard() -> None:
    """TensorFlow's C++ is silent while it is imported; a line that another thread of ours writes meanwhile is not lost."""
    found = subprocess.run([sys.executable, "-c", WHILE_IMPORTING], capture_output=True, text=True, timeout=120, check=True)
    assert found.stdout == "True\n"
    assert found.stderr == "a line of ours\n"
