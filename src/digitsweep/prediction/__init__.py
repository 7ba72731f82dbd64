"""A person's images in, readings out."""
