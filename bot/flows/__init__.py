"""What the product does: one file per thing a person could name."""
