"""What is true of every table: models, vocabularies, label and star rules, errors."""
