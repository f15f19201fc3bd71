"""Energy of a site over hours: quarter-hour peaks, calendars, departure plans, prices, tenants. Sans-IO."""
