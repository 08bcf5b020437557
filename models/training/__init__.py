"""Turns sessions of bars into trained models, and trained models into honest figures."""
