"""The run folder: the only contract between training, sweeps and analysis.

Nothing here imports torch.
"""
