"""A start: journal and account held by one process, and the account as the last one left it."""
