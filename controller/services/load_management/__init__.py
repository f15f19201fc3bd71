"""Load management: the site's control with its meters, queue of limits, energy plan and overrides."""
