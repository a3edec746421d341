"""Pictures and videos on disk, and the record of settings inside them."""
