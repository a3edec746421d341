"""The toy world: a drawn world whose truth is known, and the checkpoint that is trained on it.

``scene`` says what exists, ``render`` draws it and knows the truth, ``captions`` describes it in words,
``sequences`` moves it, ``detector`` finds it again in any picture. ``python -m training.toyworld`` trains
the checkpoint that ships in ``checkpoints/toyworld`` from these alone.
"""
