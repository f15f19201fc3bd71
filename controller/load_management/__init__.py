"""Load management: the site tree, the current of each EVSE, and its reason. Sans-IO."""
