"""The toy world: a drawn world whose truth is known.

``scene`` declares what exists, ``render`` draws it and returns the truth, ``captions`` describes it in words,
``sequences`` animates it, ``edits`` changes it by instruction, ``detector`` finds it again in any picture; ``splits``
and ``control_scenes`` number the scenes for training and evaluation, ``clips`` and ``examples`` write videos.
"""
