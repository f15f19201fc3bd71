"""History of the site for charts: minutes and quarter hours, bounded in disk and flash wear. Sans-IO."""
