"""Register maps, one TOML file a meter."""
