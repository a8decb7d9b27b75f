"""The way from a study's evidence and source files to a verified release."""
