"""One EVSE under control: its model, consumption, response and limit delivery. Sans-IO."""
