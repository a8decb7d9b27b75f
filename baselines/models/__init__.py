"""Foundation models of single cells, one file a model.

A model file holds configuration, tokeniser, network, checkpoint conversion,
embedding and LoRA targets of one model and imports torch and numpy (and
transformers where that is the official class) only, so that a machine with a GPU and
nothing else can run it on exported arrays.
"""
