"""Messages to other programs at the site: MQTT topics, Home Assistant discovery, webhooks. Sans-IO."""
