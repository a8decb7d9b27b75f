"""Embed the cells of a release with a model, into one Parquet file."""
