"""Images and labels: where they come from, how they are read, checked and split."""

from digitsweep.data.splits import Dataset, Duplicates, SealedSplit, Split, TrainingData, make_dataset

__all__ = ["Dataset", "Duplicates", "SealedSplit", "Split", "TrainingData", "make_dataset"]
