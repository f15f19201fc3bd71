"""Users, their logins, the commands that they give, and the audit of what they change."""
