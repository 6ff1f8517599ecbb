"""Shards: servers of their own that hold a part of the public photos."""
