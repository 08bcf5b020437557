"""The record of every event that matters: written, kept short, read and repaired."""
