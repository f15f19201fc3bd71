"""The controller as the CSMS of stations that have no backend: one state machine per station."""
