"""Other ways to search the spaces of an experiment, for `make bench-quality`: each module is a command."""
