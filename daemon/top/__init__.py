"""`hrmd top`: a running daemon in a terminal, looked at and commanded over the control API."""
