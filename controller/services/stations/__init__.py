"""Stations: admission, connections, sessions, relays, profiles, limits and commands."""
