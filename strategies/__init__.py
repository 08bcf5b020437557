"""Who decides: strategies turn a `Moment` of the market into a `Decision`."""
