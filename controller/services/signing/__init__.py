"""Signatures: the policy with its keys, memory against replays, evidence about trust."""
