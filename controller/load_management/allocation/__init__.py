"""Allocation of current: constraints, water filling, rotation and headroom. Sans-IO."""
