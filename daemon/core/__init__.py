"""What every stage stands on: the messages, the bus that carries them, actors, clocks and errors."""
