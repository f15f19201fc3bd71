"""The controller as a charging station of its own at the site's backend. Sans-IO."""
