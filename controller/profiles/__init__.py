"""Charging profiles: schedule arithmetic, encoding per version, arbitration and reports. Sans-IO."""
