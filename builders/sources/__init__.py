"""Get source files: from a mirror, the cache or the network, and out of archives."""
