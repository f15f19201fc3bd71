"""One state machine a station: who gets which message, and in what order. No IO, no clock."""
