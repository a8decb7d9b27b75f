"""Cohorts: cells of one cancer type and drug, integrated over batches."""
