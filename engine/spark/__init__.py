"""Spark. Nothing here is imported by a run without it."""
