"""The model to compress: its structure, its checkpoint, its vocabulary."""
