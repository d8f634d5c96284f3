"""``sqlite-claims top``: a live view of a store's tasks and workers."""
