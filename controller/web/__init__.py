"""Status model of a running controller, and what shows it: page, REST API, metrics, alarms, terminal view."""
