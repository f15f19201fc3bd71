"""Connections: WebSocket and its upgrade, TLS, poller, deadline timer and virtual channel."""
