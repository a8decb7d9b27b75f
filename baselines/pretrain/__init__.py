"""Really trained small models: own weights and own vocabulary files, in the official layout."""
