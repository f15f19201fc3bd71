"""TOML with positions checked against msgspec Structs: all errors at once, with line and remedy."""
