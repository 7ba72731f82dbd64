"""What MLflow is told of a sweep, and what is found there when it goes on.

mlflow_tracker.py is where to begin: every event becomes an update of a run (records.py, trial_record.py), which waits
on disk (spool.py) until it has been sent (writer.py); opening.py opens the sweep's own run, sweep_run.py says what
stands in it, lock.py sees to it that one process writes it. unfinished.py finds a sweep that was broken off, recovery.py
what it had done, reconciling.py repairs what it left.
"""
