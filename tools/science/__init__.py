"""docs/science.md: numbers of a run, and the page that is rendered from them."""
