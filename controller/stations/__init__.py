"""Stations' connections: listener, admission, sessions and the session registry."""
