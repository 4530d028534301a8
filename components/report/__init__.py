"""The report of a run: one offline HTML file, and the plots in it one by one."""
