"""Purposes and privacy texts: read from files, checked as a whole, and turned into pages."""
