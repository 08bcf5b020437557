"""The models: from a window of bars to an action, and nothing about orders, brokers or threads."""
