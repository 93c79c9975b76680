"""Fuzzing: everything that reads a file of a user's, given files that are damaged.

    make fuzz                                  every target in turn, ten minutes each
    make fuzz FUZZ="image plugin_blob" SECONDS=60
    .venv/bin/python -m tests.fuzz --help      the same, with more options

Targets:
    python readers   tests/fuzz/readers.py, by Atheris (libFuzzer with coverage of Python code):
                     metadata, engine_sidecar, calibration_table, calibration_cache, image,
                     image_archive, infer
    C++              tests/fuzz/cpp, by Clang's libFuzzer under its address and undefined-behaviour
                     sanitizers: operators (contract, packed weights, CPU kernels), plugin_blob and
                     plugin_fields (TensorRT)
    models           tests/fuzz/models.py: one-node ONNX models with something changed, run by
                     ONNX Runtime with the operator library, on each instruction set of the machine;
                     models_sanitized with a library that is built under the sanitizers

A reader may give an answer or raise one of runtime.core.errors, in one line; native code may
refuse, and must neither crash, hang nor touch memory that is not its own. Whatever else happens is
a finding: the input that brought it about lies in build/fuzz/findings/TARGET/, and
`.venv/bin/python -m tests.fuzz --input FILE TARGET` runs that one again.

Seeds are made by code (tests/fuzz/seeds.py), so that they are of today's formats; what a fuzzer has
found out beyond them it keeps in build/fuzz/corpus/TARGET/, and goes on from there the next time.
tests/fuzz/corpus/TARGET.zip has inputs that once were findings, and for C++ short ones that reach
all that ten minutes did (libFuzzer's -merge=1 -use_counters=0). Every run begins with these, and
so does tests/fuzz/test_fuzz.py, which runs every target for a moment.
`.venv/bin/python -m tests.fuzz --keep FILE... TARGET` adds files to an archive.
"""
