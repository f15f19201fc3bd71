"""Ledger of the charging sessions: observed from the stations' messages, stored, exported."""
