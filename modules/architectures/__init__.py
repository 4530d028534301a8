"""The networks, a file each family; `registry` finds them by name."""
