"""What produced the numbers in the README."""
