"""Protocol buffers of ReviewLens."""
