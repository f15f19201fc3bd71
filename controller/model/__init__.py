"""Types that several packages share: EVSE references, observations, effects, records, statements. Sans-IO."""
