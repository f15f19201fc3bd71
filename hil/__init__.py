"""Scenarios for hardware in the loop: a person, a real meter, and what must happen."""
