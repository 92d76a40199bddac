"""A stream of texts labelled line by line, and alerts where the share of a label departs from what it was."""
