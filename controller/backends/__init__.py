"""Backends' connections: endpoints, pool, failover and backend links."""
