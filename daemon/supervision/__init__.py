"""Keeps the stages alive and decides who decides."""
