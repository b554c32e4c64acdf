"""A CUDA that has memory, the host's, and no kernels: onnxruntime-gpu and FFmpeg's NVDEC run on it and are counted.

Networks answer zeros; calls, copies, contexts and the placement of nodes are those of a GPU. As onnxruntime and
onnxruntime-gpu exclude each other, a scenario is a script in a process of its own (``run.py``), whose last line is
JSON. It imports ``nullcuda.inside``, which has ``counts``, ``reset`` and ``sessions``.
"""
