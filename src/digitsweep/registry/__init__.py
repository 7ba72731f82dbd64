"""Registered models by name: register, load, compare, promote, roll back and publish."""
