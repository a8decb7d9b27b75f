"""Releases on the Hugging Face Hub: push, pull, and reading without a copy."""
