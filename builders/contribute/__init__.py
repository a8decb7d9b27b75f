"""Start a study's folder from GEO's records, and pin its files."""
