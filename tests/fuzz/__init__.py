"""Fuzzing of every decoder: only our own errors may be raised, in bounded time and memory.

One file a decoder, each with ``decode(data)``, which feeds it, and ``seeds()``, real inputs to start from.
``contract`` says what must hold, ``campaign`` runs it for a while (``make fuzz``), ``child`` is one run under
atheris. ``corpus/NAME`` holds the seeds and every input that once broke something; the default test run
replays it (``test_corpus``), without atheris.

A decoder that checks a digest first would refuse whatever a fuzzer makes of a file. Such a target takes the
first byte of its input as a choice: the bytes as they are, or the bytes as content that is sealed here.
"""

TARGETS = (
    "wire",
    "learned",
    "mqtt",
    "hub",
    "rest",
    "enrolment",
    "bundle",
    "config",
    "template",
    "readings",
    "gmn",
    "onnx",
    "tflite",
    "npz",
    "recording",
    "checkpoint",
    "history",
    "search",
    "window",
)
