"""Which device is modelled, and which of the guide's features it has (guide chapter 2, feature information; AR-11)."""

from __future__ import annotations

from .load import Load

# Release from which a platform has several sequence-number spaces in an SA; None: never.
MULTI_SN_SINCE: dict[str, tuple[int, int, int] | None] = {
    "csr1000v": (16, 6, 1),
    "isr4200": (16, 7, 1),
    "isr4300": (16, 7, 1),
    "isr4400": None,
    "asr1000": (16, 8, 1),  # those with an Octeon crypto engine
}
RELEASE = (16, 6, 1)  # the guide's


def has_multi_sn(model: str | None, release: tuple[int, int, int] = RELEASE) -> bool:
    """Tell whether a device has multi-SNS; `None` is the default platform, which has everything."""
    if model is None:
        return True
    since = MULTI_SN_SINCE.get(model.lower())
    return since is not None and release >= since


def check_platform(load: Load) -> None:
    """Report commands that the modelled device does not have."""
    model = load.cfg.platform.model
    if model is not None and model.lower() not in MULTI_SN_SINCE:
        load.error(f"platform '{model}' is not known", "one of " + ", ".join(MULTI_SN_SINCE), line=0)
    elif load.cfg.ipsec.multi_sn and not has_multi_sn(model):
        named = ".".join(map(str, RELEASE))
        load.error(f"platform {model} has no 'security-association multi-sn' in release {named}", line=0)
