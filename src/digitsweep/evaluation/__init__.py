"""Predictions on the opened test set become a Comparison."""
