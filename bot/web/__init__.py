"""What the bot shows over HTTP: whether it is well, and counts."""
