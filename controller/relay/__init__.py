"""Routing of one station's messages between the station, its owner and its observers. Sans-IO."""
