"""Imported once by the process that sessions are forked from, so that each of them has what it needs."""

from tests.simulation.session import warm

warm()
