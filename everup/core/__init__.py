"""Decisions: pure functions from what is declared and observed to what should be done, said or refused."""
