"""The coordinator's process: begin with run.py, a sweep from its file to its answer."""
