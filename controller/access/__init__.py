"""Access over the page and the interfaces: users, tokens, roles, login sessions. Sans-IO."""
