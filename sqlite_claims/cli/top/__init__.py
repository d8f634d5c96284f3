"""``sqlite-claims top``: what goes on in a store, looked at again and again."""
