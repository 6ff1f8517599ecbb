"""Training: networks whose embeddings tell places apart, from a collection in the database."""
