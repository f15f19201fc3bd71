"""A day of a configuration on virtual time: the real control with given loads and cars."""
