"""Values become pictures and pages; no I/O."""
