"""A YAML file becomes a frozen, checked Experiment."""
