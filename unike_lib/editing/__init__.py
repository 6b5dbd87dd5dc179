"""Editing methods: each turns requests into a patch."""
