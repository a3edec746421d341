"""The toy world: a drawn world whose truth is known.

``scene`` says what exists, ``render`` draws it and knows the truth, ``captions`` describes it in words,
``sequences`` moves it, ``detector`` finds it again in any picture.
"""
