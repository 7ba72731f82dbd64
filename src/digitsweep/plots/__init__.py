"""Values -> matplotlib figures. No pyplot, no files, no state; each function draws numbers it is given."""

from matplotlib.figure import Figure

from digitsweep.plots.confusion import confusion_matrices, confusion_matrix, error_matrix
from digitsweep.plots.cost import equal_cost, trade_off
from digitsweep.plots.judged import class_recalls, difference_interval, finalists_on_seeds
from digitsweep.plots.output import pixels, png, svg
from digitsweep.plots.parameters import drawn_trials, parallel_coordinates, parameter_slice, sliced
from digitsweep.plots.search import best_so_far, importance, learning_values, search_history
from digitsweep.plots.style import FIRST, SECOND, family_color
from digitsweep.plots.training import COLORS, Curve, learning_curves, training_curves

__all__ = [
    "COLORS",
    "FIRST",
    "SECOND",
    "Curve",
    "Figure",
    "best_so_far",
    "class_recalls",
    "confusion_matrices",
    "confusion_matrix",
    "difference_interval",
    "drawn_trials",
    "equal_cost",
    "error_matrix",
    "family_color",
    "finalists_on_seeds",
    "importance",
    "learning_curves",
    "learning_values",
    "parallel_coordinates",
    "parameter_slice",
    "pixels",
    "png",
    "search_history",
    "sliced",
    "svg",
    "trade_off",
    "training_curves",
]
