"""Which trial comes next, and whether one goes on or stops; the only room that imports Optuna."""
