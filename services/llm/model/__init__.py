"""The language model itself: weights, forward pass, cache, sampling. The only place of this service with torch."""
