"""``sqlite-claims bench``: what a store does on the user's own machine and disk, beside yardsticks of the same run."""
