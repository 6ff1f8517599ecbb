"""The server: a page, and what it asks, over HTTP."""
