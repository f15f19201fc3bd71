"""OCPP-J as data: frames, actions, and the messages of each version that are read or made."""
