"""Who is told what has happened, when nobody looks: alerts, once each until they clear, and the day in a few lines."""
