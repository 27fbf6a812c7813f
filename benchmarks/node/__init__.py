"""The node between real programs: dcmtk sends, Orthanc receives, SIGKILL in between; and its speed under load.

``python -m benchmarks.node`` writes ``results/node/``.
"""
