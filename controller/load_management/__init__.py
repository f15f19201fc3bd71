"""Load management: the site tree, who may draw how much, and why. Sans-IO."""
