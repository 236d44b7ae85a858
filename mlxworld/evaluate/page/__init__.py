"""The report as one page that needs nothing else: plots as SVG, pictures and films as data in it."""
