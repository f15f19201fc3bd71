"""The subcommands of `local-controller` that are more than a call."""
