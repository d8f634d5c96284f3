"""``sqlite-claims bench``: measures a store on the user's machine and disk, and baselines in the same run."""
