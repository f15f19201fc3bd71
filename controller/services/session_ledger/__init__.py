"""The session ledger: recorders of charging sessions, and the sessions as the page shows them."""
