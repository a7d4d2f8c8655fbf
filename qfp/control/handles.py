"""The chain of handles behind an SA, as the platform numbers them (BASE-10).

IOS flow id -> forwarding-manager flow -> QFP SA handle -> crypto context handle, with the SPD and SP that it serves
and the AOM objects that carried it down. In qfp all of them follow from the SA's table row, which is the one real
handle: the data plane indexes every table by it, and a generation beside it tells a reused row from the one before.
"""

from dataclasses import dataclass

from qfp.tables.sad import Sad
from qfp_kernels.layout import CONTEXT

CONTEXT_BASE = 0xE8B00000  # where the guide's samples have their crypto contexts
AOM_FIRST, AOM_STEP = 891, 3  # object ids of the three managers that see each SA
CONNECTION_BASE = 2000  # conn id = 2000 + flow id (FIELD, from the guide's samples)


@dataclass(frozen=True)
class Handles:
    """Numbers of one SA. `flow` as IOS prints it, e.g. `CSR:169`."""

    flow: str
    flow_id: int
    connection_id: int
    qfp_sa: int
    generation: int
    crypto_context: int
    spd_entry: int
    aom_cpp: int
    aom_engine: int
    state: str

    @property
    def context_text(self) -> str:
        """The crypto context as the platform prints it: 64 bits of hexadecimal."""
        return f"0x{self.crypto_context:016x}"


def handles(sad: Sad, handle: int, platform: str = "CSR") -> Handles:
    """Numbers of the SA in table row `handle`. Raises IndexError when there never was such a row."""
    if not 0 <= handle < sad.rows:
        raise IndexError(f"there is no SA handle {handle} (0 to {sad.rows - 1} are known)")
    row = sad.table[handle]
    flow = int(row["flow_id"])
    return Handles(
        flow=f"{platform}:{flow}",
        flow_id=flow,
        connection_id=CONNECTION_BASE + flow,
        qfp_sa=handle,
        generation=int(row["generation"]),
        crypto_context=CONTEXT_BASE + handle * CONTEXT,
        spd_entry=int(row["sp"]),
        aom_cpp=AOM_FIRST + AOM_STEP * (handle + 1),
        aom_engine=AOM_FIRST + AOM_STEP * handle,
        state="active" if row["valid"] else "deleted",
    )
