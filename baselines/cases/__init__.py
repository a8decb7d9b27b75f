"""Case studies: declared recipes that train on some cells and test on others."""
