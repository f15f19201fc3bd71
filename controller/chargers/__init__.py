"""Chargers: quirks as data rows, and capability discovery. Sans-IO."""
