"""Maps of digital-input modules, one TOML file a module."""
