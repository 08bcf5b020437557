"""Bars → decisions: the stage that asks a strategy, how strategies are built, and the runtime they think on."""
