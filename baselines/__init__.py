"""Models, comparators and the benchmark: results stand beside a release as an addendum."""
