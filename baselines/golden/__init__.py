"""Golden numbers: outputs of the official code, and how far ours are from them.

`run.py` names one module a model; each has `checks(golden) -> Iterator[Check]`, which
draws the weights by the rule (`weights.py`), feeds the stored tokens, alone and in mixed
batches, and yields every comparison with what the official code gave.
"""
