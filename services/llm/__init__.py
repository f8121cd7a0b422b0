"""The token generator: one language model for all modalities, many requests at once."""
