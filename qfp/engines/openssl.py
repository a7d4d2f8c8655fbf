"""The reference engine: one packet at a time, on the `cryptography` package, for every algorithm of the registry.

It defines what the native engine must produce, byte for byte, and serves the CPUs and algorithms that have no
kernel. The file goes from the primitives (MACs, combined modes, ciphers) to the context that applies them to ESP
and AH packets.
"""

import hmac
from collections.abc import Callable
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hmac import HMAC

from qfp.sa import ESP_HEADER, SecurityAssociation

Buffer = bytes | bytearray | memoryview
Mac = Callable[..., bytes]  # parts of a message -> the whole tag, not truncated

AES_BLOCK = 16
HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    "hmac-md5": hashes.MD5,
    "hmac-sha1": hashes.SHA1,
    "hmac-sha256": hashes.SHA256,
    "hmac-sha384": hashes.SHA384,
    "hmac-sha512": hashes.SHA512,
}


# ------------------------------------------------------------------------------------------------ integrity
def mac_of(name: str, key: bytes) -> Mac:
    """The MAC `name`, keyed: `hmac-md5` … `hmac-sha512`, `aes-cmac`, `aes-xcbc`.

    The function that comes back takes the message in parts (any bytes-like) and returns the untruncated tag.
    """
    if name == "aes-xcbc":
        return xcbc(key)
    keyed = CMAC(AES(key)) if name == "aes-cmac" else HMAC(key, HASHES[name]())

    def tag(*parts: Buffer) -> bytes:
        running = keyed.copy()  # the key schedule is done once an SA
        for part in parts:
            running.update(bytes(part))
        return running.finalize()

    return tag


def xcbc(key: bytes) -> Mac:
    """AES-XCBC-MAC (RFC 3566 section 4) with a 16-byte key; 16 bytes of tag, of which IPsec sends 12."""
    blocks = b"".join(bytes([n]) * AES_BLOCK for n in (1, 2, 3))
    # K1, K2, K3 are the encryptions of 0x01…, 0x02…, 0x03…: three independent blocks, hence ECB
    derived = Cipher(AES(key), modes.ECB()).encryptor().update(blocks)
    k1, k2, k3 = derived[:16], derived[16:32], derived[32:]
    chain = Cipher(AES(k1), modes.CBC(bytes(AES_BLOCK)))

    def tag(*parts: Buffer) -> bytes:
        message = b"".join(parts)
        whole = len(message) > 0 and len(message) % AES_BLOCK == 0
        padded = message if whole else message + b"\x80" + bytes(-(len(message) + 1) % AES_BLOCK)
        last = int.from_bytes(padded[-AES_BLOCK:]) ^ int.from_bytes(k2 if whole else k3)
        return chain.encryptor().update(padded[:-AES_BLOCK] + last.to_bytes(AES_BLOCK))[-AES_BLOCK:]

    return tag


# -------------------------------------------------------------------------------------------- combined modes
class Aead(Protocol):
    """A combined mode, keyed."""

    def encrypt(self, nonce: bytes, data: Buffer, associated_data: bytes) -> bytes:
        """Ciphertext and tag."""

    def decrypt(self, nonce: bytes, data: Buffer, associated_data: bytes) -> bytes:
        """Plaintext. Raises InvalidTag."""


class TruncatedGcm:
    """AES-GCM with a tag of 8 or 12 bytes, which AESGCM does not offer (RFC 4106 section 6 does)."""

    def __init__(self, key: bytes, tag_length: int) -> None:
        self._seal = AESGCM(key)
        self._key = AES(key)
        self._tag = tag_length

    def encrypt(self, nonce: bytes, data: Buffer, associated_data: bytes) -> bytes:
        """Ciphertext and the first bytes of the tag."""
        return self._seal.encrypt(nonce, data, associated_data)[: self._tag - 16]

    def decrypt(self, nonce: bytes, data: Buffer, associated_data: bytes) -> bytes:
        """Plaintext; the library compares the shortened tag in constant time. Raises InvalidTag."""
        cut = len(data) - self._tag
        mode = modes.GCM(nonce, bytes(data[cut:]), min_tag_length=self._tag)
        running = Cipher(self._key, mode).decryptor()
        running.authenticate_additional_data(associated_data)
        return running.update(data[:cut]) + running.finalize()


def aead_of(name: str, key: bytes, tag_length: int = 16) -> Aead:
    """The combined mode `name` of the SA file, keyed. GMAC is GCM, whose caller passes all as associated data."""
    if name == "aes-ccm":
        return AESCCM(key, tag_length)
    if name == "chacha20-poly1305":
        return ChaCha20Poly1305(key)
    return AESGCM(key) if tag_length == 16 else TruncatedGcm(key, tag_length)


# --------------------------------------------------------------------------------------------------- ciphers
class Plain:
    """A cipher without integrity, or none: null, CBC, CTR."""

    def __init__(self, name: str, key: bytes, salt: bytes = b"") -> None:
        self.cbc = name.endswith("-cbc")
        self._null = name == "null"
        self._salt = salt
        self._key: AES | TripleDES | None = None
        if name in ("des-cbc", "3des-cbc"):
            # DES is 3DES with one key thrice: E(D(E(x))) = E(x)
            self._key = TripleDES(key * 3 if name == "des-cbc" else key)
        elif not self._null:
            self._key = AES(key)

    def _cipher(self, iv: bytes) -> "Cipher[modes.CBC] | Cipher[modes.CTR]":
        assert self._key is not None
        if self.cbc:
            return Cipher(self._key, modes.CBC(iv))
        # RFC 3686 4: nonce, IV, and a block counter that starts at 1
        return Cipher(self._key, modes.CTR(self._salt + iv + b"\0\0\0\1"))

    def encrypt(self, iv: bytes, data: Buffer) -> bytes:
        """Ciphertext of the same length; for CBC a multiple of the block."""
        return bytes(data) if self._null else self._cipher(iv).encryptor().update(data)

    def decrypt(self, iv: bytes, data: Buffer) -> bytes:
        """Plaintext of the same length; for CBC a multiple of the block."""
        return bytes(data) if self._null else self._cipher(iv).decryptor().update(data)


# ------------------------------------------------------------------------------------------------ the context
class OpensslContext:
    """The keyed transform of one SA. Buffers are writable bytes-like objects, changed in place.

    `seq_hi` is the high half of the sequence number, needed with ESN and ignored without.
    """

    def __init__(self, sa: SecurityAssociation) -> None:
        self._name = f"{sa.proto} {sa.encr}/{sa.integ}"
        self._esn = sa.esn
        self._icv = sa.icv_len
        self._iv_end = ESP_HEADER + sa.iv_len
        self._block = sa.block
        self._salt = sa.salt
        self._gmac = "aes-gmac" in (sa.encr, sa.integ)
        self._aead: Aead | None = None
        self._plain: Plain | None = None
        self._mac: Mac | None = None
        if sa.is_aead:
            self._aead = aead_of(sa.encr, sa.encr_key, sa.icv_len)
        elif sa.integ == "aes-gmac":
            self._aead = aead_of(sa.integ, sa.integ_key)
        else:
            self._plain = Plain(sa.encr, sa.encr_key, sa.salt)
            if sa.integ != "none":
                self._mac = mac_of(sa.integ.rpartition("-")[0], sa.integ_key)

    def __repr__(self) -> str:
        return f"<OpensslContext {self._name}>"

    # ------------------------------------------------------------------------------------------------- ESP
    def esp_seal(self, buf: bytearray | memoryview, seq_hi: int | None, derive_iv: bool = False) -> None:
        """Encrypt an ESP packet in place and write its ICV.

        `buf` runs from the SPI to the end of the ICV. SPI, sequence number, IV, payload, padding and trailer are
        filled in. With `derive_iv` and a CBC cipher the IV field holds a nonce block, and the IV becomes its
        encryption: unpredictable without a random source (RFC 3602 section 2.1). Raises ValueError where the length
        does not fit the cipher.
        """
        view = memoryview(buf)
        end = len(view) - self._icv
        if not self._fits(end):
            raise ValueError("the ESP payload and trailer do not fill whole blocks of the cipher")
        if self._aead is not None:
            self._seal_aead(self._aead, view, end, self._high(seq_hi))
            return
        assert self._plain is not None
        at = self._iv_end
        if derive_iv and self._plain.cbc:
            # CBC from the IV field on, with a zero IV: the first block out is the IV, the rest chains on it
            view[ESP_HEADER:end] = self._plain.encrypt(bytes(at - ESP_HEADER), view[ESP_HEADER:end])
        else:
            view[at:end] = self._plain.encrypt(bytes(view[ESP_HEADER:at]), view[at:end])
        view[end:] = self._tag(view[:end], self._high(seq_hi))

    def esp_open(self, buf: bytearray | memoryview, seq_hi: int | None) -> bool:
        """Verify the ICV of an ESP packet, from the SPI to the end of the ICV, then decrypt it in place.

        False, with `buf` unchanged, where the ICV is wrong or the length does not fit the cipher.
        """
        view = memoryview(buf)
        end = len(view) - self._icv
        if not self._fits(end):
            return False
        if self._aead is not None:
            return self._open_aead(self._aead, view, end, self._high(seq_hi))
        tag = self._tag(view[:end], self._high(seq_hi))
        if self._mac is not None and not hmac.compare_digest(tag, bytes(view[end:])):
            return False  # without a MAC an ICV that the SA may have is cut off unchecked
        assert self._plain is not None
        at = self._iv_end
        view[at:end] = self._plain.decrypt(bytes(view[ESP_HEADER:at]), view[at:end])
        return True

    def _fits(self, end: int) -> bool:
        """Payload and trailer are there, and a multiple of the cipher's block or of 4 (RFC 4303 section 2.4)."""
        body = end - self._iv_end
        return body > 0 and body % self._block == 0

    def _high(self, seq_hi: int | None) -> bytes:
        """The high half as it enters the ICV. Raises ValueError where the SA has ESN and the caller gave none."""
        if not self._esn:
            return b""
        if seq_hi is None:
            raise ValueError("an SA with ESN needs the high half of the sequence number")
        return seq_hi.to_bytes(4)

    def _tag(self, message: memoryview, high: bytes) -> bytes:
        """The truncated ICV. RFC 4303 2.2.1: the high half of an extended number follows the trailer."""
        return self._mac(message, high)[: self._icv] if self._mac is not None else b""

    def _aad(self, view: memoryview, end: int, high: bytes) -> bytes:
        """SPI, high half, low half (RFC 4106 5, 4309 5, 7634 2); for GMAC also IV, payload, trailer (RFC 4543 3.3)."""
        return b"".join((view[:4], high, view[4 : end if self._gmac else ESP_HEADER]))

    def _seal_aead(self, aead: Aead, view: memoryview, end: int, high: bytes) -> None:
        at = end if self._gmac else self._iv_end
        nonce = self._salt + bytes(view[ESP_HEADER : self._iv_end])
        view[at:] = aead.encrypt(nonce, view[at:end], self._aad(view, end, high))

    def _open_aead(self, aead: Aead, view: memoryview, end: int, high: bytes) -> bool:
        at = end if self._gmac else self._iv_end
        nonce = self._salt + bytes(view[ESP_HEADER : self._iv_end])
        try:
            clear = aead.decrypt(nonce, view[at:], self._aad(view, end, high))
        except InvalidTag:
            return False
        view[at:end] = clear
        return True

    # -------------------------------------------------------------------------------------------------- AH
    def ah_seal(self, msg: bytearray | memoryview, icv_at: int, seq_hi: int | None) -> bytes:
        """Compute the ICV field of an AH packet, write it at `icv_at` and return it.

        `msg` is the whole IP packet with its mutable fields and the ICV field zeroed (RFC 4302 section 3.3.3). For
        GMAC the first 8 bytes of the field hold the IV and count to the message: only the tag is taken as zero
        (RFC 4543 section 4). ICV padding, where there is any, is left as it is.
        """
        view = memoryview(msg)
        at = icv_at + (8 if self._gmac else 0)
        tag = self._ah_tag((view,), bytes(view[icv_at:at]), seq_hi)
        view[at : at + self._icv] = tag
        return bytes(view[icv_at : at + self._icv])

    def ah_open(self, msg: Buffer, icv_at: int, icv: bytes, seq_hi: int | None) -> bool:
        """Verify the ICV field `icv` as received over `msg`, prepared as for `ah_seal` with all of the field zero.

        False where it is wrong or of another length than the SA's; `msg` is not changed.
        """
        view = memoryview(msg)
        iv_len = 8 if self._gmac else 0
        if len(icv) != iv_len + self._icv:
            return False
        iv = bytes(icv[:iv_len])
        tag = self._ah_tag((view[:icv_at], iv, view[icv_at + iv_len :]), iv, seq_hi)
        return hmac.compare_digest(tag, bytes(icv[iv_len:]))

    def _ah_tag(self, parts: tuple[Buffer, ...], iv: bytes, seq_hi: int | None) -> bytes:
        """The truncated tag over `parts`; RFC 4302 2.5.1: the high half of an extended number follows the packet."""
        high = self._high(seq_hi)
        if self._aead is not None:
            return self._aead.encrypt(self._salt + iv, b"", b"".join((*parts, high)))[: self._icv]
        assert self._mac is not None
        return self._mac(*parts, high)[: self._icv]

    def tag(self, message: Buffer, iv: bytes) -> bytes:
        """The tag over a message that is complete already (ESN high half, zeroed fields); `iv` counts for GMAC only.

        For the stages that put the input together in a packet's own row (see qfp_kernels.hmac and ah).
        """
        if self._aead is not None:
            return self._aead.encrypt(self._salt + iv, b"", bytes(message))[: self._icv]
        assert self._mac is not None
        return self._mac(message)[: self._icv]
