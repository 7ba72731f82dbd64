"""How good a dense and a convolutional network can be found on this data and this budget, and is the difference real?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from digitsweep.api import (
        Result,
        compare,
        history,
        load_comparison,
        load_data,
        predict,
        promote,
        resume,
        rollback,
        sweep,
    )
    from digitsweep.errors import DataUnavailableError, DigitsweepError, InputError, RefusedError

__version__ = "0.2.0"
__all__ = [
    "DataUnavailableError",
    "DigitsweepError",
    "InputError",
    "RefusedError",
    "Result",
    "compare",
    "history",
    "load_comparison",
    "load_data",
    "predict",
    "promote",
    "resume",
    "rollback",
    "sweep",
]


def __getattr__(name: str) -> Any:
    """The public names are imported when they are first used, so that workers do without them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = import_module("digitsweep.errors" if name.endswith("Error") else "digitsweep.api")
    return globals().setdefault(name, getattr(room, name))


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
