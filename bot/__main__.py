"""`python -m bot` is `botschaft`."""

from bot.cli import main

main()
