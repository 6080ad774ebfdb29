"""Everything about keys: what matrix-nio gets wrong is put right here, one concern per file."""
