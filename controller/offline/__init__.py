"""Offline mode: what serves a station while its owner is away, and the outbox. Sans-IO."""
