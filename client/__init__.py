"""The ReviewLens client: tokenization, masking plan, batching, highlights, Triton transport and the CLI."""
