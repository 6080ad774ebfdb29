"""A homeserver, a customer and a mechanic on this machine, to see the bot at work."""
