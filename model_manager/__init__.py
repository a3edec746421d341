"""From a name to networks on a device: built-in rows, discovery, checkpoint formats, loading, adapters, memory."""
