"""Feed cells of a release to a model, from disk."""
