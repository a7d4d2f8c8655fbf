"""Configurations: IOS-style text to a typed model and back; every line gets a verdict, every problem a place."""

from .build import load, loads
from .issues import ConfigError, Issue
from .model import (
    AccessList,
    Ace,
    Address6,
    ClassMap,
    ClassMatch,
    ClassPolicy,
    Configuration,
    CryptoMap,
    CryptoMapEntry,
    Identity,
    Interface,
    IpsecGlobals,
    IpsecProfile,
    IsakmpConfig,
    IsakmpPeer,
    IsakmpPolicy,
    IsakmpProfile,
    Keepalive,
    Kept,
    Keyring,
    Peer,
    Platform,
    Police,
    PolicyMap,
    PortMatch,
    PreSharedKey,
    Remark,
    Secret,
    SessionKey,
    TunnelConfig,
    Vrf,
)  # fmt: skip
from .printing import render
from .references import pair_issues
from .static_route import StaticRoute
from .transforms import TransformSet
from .verdicts import LineVerdict

__all__ = [
    "AccessList", "Ace", "Address6", "ClassMap", "ClassMatch", "ClassPolicy", "ConfigError", "Configuration",
    "CryptoMap", "CryptoMapEntry", "Identity", "Interface", "IpsecGlobals", "IpsecProfile", "IsakmpConfig",
    "IsakmpPeer", "IsakmpPolicy", "IsakmpProfile", "Issue", "Keepalive", "Kept", "Keyring", "LineVerdict", "Peer",
    "Platform", "Police", "PolicyMap", "PortMatch", "PreSharedKey", "Remark", "Secret", "SessionKey", "StaticRoute",
    "TransformSet", "TunnelConfig", "Vrf", "load", "loads", "pair_issues", "render",
]  # fmt: skip
