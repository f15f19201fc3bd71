"""Meters in the site tree: base load, plausibility and fuse curves. Sans-IO."""
