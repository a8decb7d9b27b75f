"""The three lines of the README, run by `make demo` and by a test."""

import cellresponse

release = cellresponse.load("dist/demo")
cells = release.cells(drug="synthetic-drug-a", stars=2)
print(cells.obs.groupby(["response", "stars"], observed=True, dropna=False).size())
