"""Botschaft: a self-hosted Matrix bot that carries messages between customers and staff."""
