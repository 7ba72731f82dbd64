"""From challenger to champion, and back.

promoting.py is where to begin: it weighs both models (weighing.py), lets the gate decide (gate.py, decision.py), writes that
down (ledger.py; lineage.py says what its records lead to) and carries it out. table.py shows it, publishing.py takes a
champion to another registry.
"""
