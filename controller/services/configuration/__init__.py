"""The configuration as services use it: files beside it, rules of the machine, check, first one, reload."""
