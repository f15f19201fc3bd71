"""A day of a real configuration in seconds: the real control on virtual time, with given loads and cars."""
