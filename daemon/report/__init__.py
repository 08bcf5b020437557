"""What a replay did: its numbers (pure), on the terminal, and as one HTML page."""
