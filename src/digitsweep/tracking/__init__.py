"""The only writer of MLflow runs.

Begin with mlflow_tracker.py: each event of a sweep becomes an update of a run (records.py), which waits on disk (spool.py)
until it has been sent (sender.py). sweep_run.py opens and closes the sweep's own run; lock.py makes sure that only one
process writes it. resume.py goes on with a sweep that was broken off, reconcile.py repairs what a crash left. client.py is
the store that all of them use.
"""
