"""The report of a benchmark: one HTML page, and the table behind every figure of it."""
