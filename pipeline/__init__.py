"""What runs, in which order, and where: config, graph, runners, lineage, command line."""
