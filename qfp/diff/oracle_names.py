"""Which of qfp's algorithms the oracle has. Its own names for them are its program's business."""

ORACLE_CIPHERS = (
    "null", "des-cbc", "3des-cbc", "aes-cbc", "aes-ctr", "aes-gcm", "aes-gmac", "aes-ccm", "chacha20-poly1305",
)  # fmt: skip
ORACLE_INTEGRITIES = (
    "none", "hmac-md5-96", "hmac-sha1-96", "hmac-sha256-128", "hmac-sha384-192", "hmac-sha512-256", "aes-cmac-96",
)  # fmt: skip
