"""Names of stages by the number that verdicts carry."""

from qfp_kernels import drops

STAGE_NAMES: list[str] = list(drops.STAGES)
