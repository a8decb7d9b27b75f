"""Parts that several models share; each exists once."""
