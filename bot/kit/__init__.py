"""What `botschaft init` writes: the bot's own files, or a whole server around it, from a few answers."""
