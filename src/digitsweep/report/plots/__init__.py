"""Values -> matplotlib figures. No pyplot, no files, no state; each function draws numbers it is given."""

from matplotlib.figure import Figure

from digitsweep.report.plots.confusion import confusion_matrices, confusion_matrix, error_matrix
from digitsweep.report.plots.cost import equal_cost, trade_off
from digitsweep.report.plots.judged import class_recalls, difference_interval, difference_intervals, finalists_on_seeds
from digitsweep.report.plots.output import pixels, png, svg
from digitsweep.report.plots.search import (
    ConfigurationPath,
    best_so_far,
    configuration_paths,
    importance,
    learning_values,
    parameter_slice,
    search_history,
    search_rungs,
    sliced,
)
from digitsweep.report.plots.style import family_color
from digitsweep.report.plots.training import Curve, learning_curves, training_curves

__all__ = [
    "ConfigurationPath",
    "Curve",
    "Figure",
    "best_so_far",
    "class_recalls",
    "configuration_paths",
    "confusion_matrices",
    "confusion_matrix",
    "difference_interval",
    "difference_intervals",
    "equal_cost",
    "error_matrix",
    "family_color",
    "finalists_on_seeds",
    "importance",
    "learning_curves",
    "learning_values",
    "parameter_slice",
    "pixels",
    "png",
    "search_history",
    "search_rungs",
    "sliced",
    "svg",
    "trade_off",
    "training_curves",
]
