"""Scenarios: the peers of a controller and their verbs, for tests of every layer."""
