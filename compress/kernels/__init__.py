"""The hot loops of the codecs: compiled for GPU and CPU, with plain torch code as reference and fallback."""
