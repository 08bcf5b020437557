"""The live feed: a link to the venue's data socket, watched, timed and compared."""
