"""Ticks → bars, and how hard the market is to read at each bar's close."""
