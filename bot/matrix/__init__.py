"""The only place that knows Matrix and matrix-nio."""
