"""The benchmark: tasks and folds of a release, models and comparators, metrics, results."""
