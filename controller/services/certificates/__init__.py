"""Certificates: those of stations and our own, issued, renewed and checked against the ledger."""
