"""The benchmark: the bot as a process beside a bare client, on one homeserver in one run."""
