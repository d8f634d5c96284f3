"""The files of a store on the disk: checks of the path, recognition of copies, side files, and reserved disk space."""
