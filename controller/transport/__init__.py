"""Connections: WebSocket, TLS, poller, deadline timer, token bucket and virtual channel."""
