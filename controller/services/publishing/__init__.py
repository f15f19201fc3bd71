"""Publishing of the status: alarms, history, MQTT and webhooks."""
