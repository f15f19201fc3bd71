"""The site's electricity: its circuits, who may draw how much, and why. No IO, no clock."""
