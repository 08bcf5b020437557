"""Everything that can be set: a module a room, the places that values come from, and one loader."""
