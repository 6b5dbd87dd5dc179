"""The configuration: every setting with bounds, one sentence and its source, in one file per part."""
