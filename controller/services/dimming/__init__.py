"""Dimming: commands of the grid operator, their output, evidence and notifications."""
