"""Frozen multimodal language models behind one interface: encode, trunk, head."""
