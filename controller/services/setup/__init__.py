"""Setup of a site: what the machine has, search of meters, stations that connect."""
