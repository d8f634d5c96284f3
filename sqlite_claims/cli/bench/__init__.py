"""``sqlite-claims bench``: measure a store and simple baselines on the user's machine and disk."""
