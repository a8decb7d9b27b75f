"""The curated studies, and the code that reads and checks them."""
