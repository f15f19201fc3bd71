"""Durable state of the controller in SQLite, and the evidence files."""
