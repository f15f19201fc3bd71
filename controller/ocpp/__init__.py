"""OCPP-J as data: frames, the few messages we read or make, and charging profiles, per version."""
