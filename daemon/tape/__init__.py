"""Recorded ticks: the file format, getting them into it, recording them live, and making them up."""
