"""What runs inside a worker; with families, the only room that imports TensorFlow."""
