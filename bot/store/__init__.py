"""SQL and only SQL, on one encrypted SQLite file."""
