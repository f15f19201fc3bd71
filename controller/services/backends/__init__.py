"""Backends of the stations: settings of connections, pools, the local CSMS, and what a rename changes."""
