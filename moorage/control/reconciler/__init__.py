"""Brings every endpoint from what the database says to what runs, and keeps it there."""
