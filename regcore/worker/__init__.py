"""A long-lived process that registers volumes for the Slicer module: JSON lines in and out, networks kept warm.

Started as ``python -m regcore.worker`` or ``regcore worker``. Volumes travel as .npy files in a folder that the client
makes and removes; `regcore.worker.protocol` has the messages.
"""
