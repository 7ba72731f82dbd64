"""Images and labels: where they come from, how they are read, checked and split. Only numpy here."""

from digitsweep.data.duplicates import Duplicates, duplicates
from digitsweep.data.splits import Dataset, SealedSplit, Split, TrainingData, make_dataset

__all__ = ["Dataset", "Duplicates", "SealedSplit", "Split", "TrainingData", "duplicates", "make_dataset"]
