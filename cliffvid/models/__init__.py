"""A folder that describes itself becomes a network that answers, or a body that can be posed."""
