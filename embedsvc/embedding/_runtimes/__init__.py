"""Ways to run a sentence-transformers model, one a file.

Each offers `load(model, threads) -> Loaded`: functions from token ids to sentence vectors, one for
each device or core that can work on its own, and how many tokens a call is best filled with.
"""
