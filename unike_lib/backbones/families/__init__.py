"""Families of multimodal models, a file each: how input is laid out, and where the parts of the model lie."""
