"""Where units of work run: this process, worker processes, Dask, SLURM."""

ENTRIES = {
    "local": ("bench.engines.processes:SPEC", "this process; local:N for N processes of this machine"),
    "dask": ("bench.engines.cluster:SPEC", "dask:ADDRESS, the workers of a Dask scheduler"),
    "slurm": ("bench.engines.batch_jobs:SPEC", "slurm:PARTITION, jobs of a SLURM cluster"),
}
