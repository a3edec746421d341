"""The storybook: a drawn world of things that people ask for, in places, whose truth is known.

``things`` lists what exists, ``drawings`` fetches and rasterises the picture sets, ``scene`` says what is where,
``places`` and ``render`` draw it and know the truth, ``captions`` describes it in words, ``vocabulary`` knows its
words, ``sequences`` moves it.

The pictures of things come from two openly licensed sets, which are dependencies of training alone and are not part of
this repository: Fluent Emoji Flat, copyright Microsoft Corporation, MIT licence; and Noto Emoji, copyright Google LLC,
Apache License 2.0; both as packaged by Iconify (``@iconify-json/fluent-emoji-flat``, ``@iconify-json/noto``).
"""
