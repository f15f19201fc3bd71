"""Types that several packages share: EVSE references and observations. Sans-IO."""
