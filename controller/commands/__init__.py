"""Typed commands of people and programs to the site, and the OCPP calls that some of them need. Sans-IO."""
