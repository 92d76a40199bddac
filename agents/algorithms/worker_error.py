"""The error of workers in other processes, in a module that imports no library."""


class WorkerError(RuntimeError):
    """Workers cannot do their work; the message says which worker, why and what to do."""
