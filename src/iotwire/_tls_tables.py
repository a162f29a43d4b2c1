"""What is data in the TLS codec: the table of extensions, what a hello offers where it is not told, the alerts."""

# What an extension's data can look like; `_extensions.pxd` has a number for each, in this order, and the code.
LAYOUTS = (
    "any bytes",
    "flag",
    "opaque",
    "host",
    "names",
    "one name",
    "u16s",
    "short u16s",
    "u8s",
    "u16",
    "fragment code",
    "size limit",
    "shares",
    "one share",
    "vector 8",
    "vector 16",
    "keys",
    "status",
)

# fmt: off
EXTENSIONS = (
    # type, name, clause, its data in a ClientHello, its attribute there, the same for a ServerHello.
    # These have an argument of ClientHello each, and are written in this order.
    (0, "server_name", "RFC 6066 3", "host", "server_name", "flag", None),
    (23, "extended_master_secret", "RFC 7627 5.1", "flag", "extended_master_secret", "flag", "extended_master_secret"),
    (1, "max_fragment_length", "RFC 6066 4", "fragment code", "max_fragment_length",
        "fragment code", "max_fragment_length"),
    (28, "record_size_limit", "RFC 8449 4", "size limit", "record_size_limit", "size limit", "record_size_limit"),
    (10, "supported_groups", "RFC 8446 4.2.7", "u16s", "groups", "any bytes", None),
    (11, "ec_point_formats", "RFC 8422 5.1.2", "u8s", "ec_point_formats", "u8s", "ec_point_formats"),
    (35, "session_ticket", "RFC 5077 3.2", "opaque", "session_ticket", "opaque", "session_ticket"),
    (16, "application_layer_protocol_negotiation", "RFC 7301 3.1", "names", "alpn_protocols",
        "one name", "alpn_protocol"),
    (13, "signature_algorithms", "RFC 8446 4.2.3", "u16s", "signature_algorithms", "any bytes", None),
    (51, "key_share", "RFC 8446 4.2.8", "shares", "key_shares", "one share", "key_share"),
    (45, "psk_key_exchange_modes", "RFC 8446 4.2.9", "u8s", "psk_key_exchange_modes", "any bytes", None),
    (43, "supported_versions", "RFC 8446 4.2.1", "short u16s", "supported_versions", "u16", "supported_version"),
    # These are checked, and given and read as bytes.
    (5, "status_request", "RFC 6066 8", "status", None, "flag", None),
    (18, "signed_certificate_timestamp", "RFC 6962 3.3.1", "flag", None, "any bytes", None),
    (21, "padding", "RFC 7685 3", "any bytes", None, "any bytes", None),
    (22, "encrypt_then_mac", "RFC 7366 2", "flag", None, "flag", None),
    (27, "compress_certificate", "RFC 8879 3", "short u16s", None, "any bytes", None),
    (41, "pre_shared_key", "RFC 8446 4.2.11", "keys", None, "u16", None),
    (42, "early_data", "RFC 8446 4.2.10", "flag", None, "any bytes", None),
    (44, "cookie", "RFC 8446 4.2.2", "vector 16", None, "vector 16", "cookie"),
    (47, "certificate_authorities", "RFC 8446 4.2.4", "vector 16", None, "any bytes", None),
    (49, "post_handshake_auth", "RFC 8446 4.2.6", "flag", None, "any bytes", None),
    (50, "signature_algorithms_cert", "RFC 8446 4.2.3", "u16s", None, "any bytes", None),
    (65281, "renegotiation_info", "RFC 5746 3.2", "vector 8", None, "vector 8", None),
)
# fmt: on

# What a ClientHello offers where it is not told: what AWS IoT and every current server have in common.
VERSIONS = (0x0304, 0x0303)
SUITES_1_3 = (0x1301, 0x1302, 0x1303)
# ECDHE with AES-GCM and ChaCha20-Poly1305; with CBC, which old middleboxes know; and that no renegotiation is meant
# (RFC 5746, 3.3).
SUITES_1_2 = (0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC023, 0xC027, 0xC009, 0xC013, 0x00FF)
GROUPS = (29, 23, 24)  # x25519, secp256r1, secp384r1
# ECDSA, RSA with PSS and with PKCS #1, by hash; Ed25519.
SIGNATURE_ALGORITHMS = (0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0603, 0x0806, 0x0601, 0x0807)

# The arguments of a ClientHello and their defaults, in the order of its signature.
ARGUMENTS = {
    "server_name": None,
    "alpn_protocols": (),
    "versions": VERSIONS,
    "cipher_suites": None,
    "groups": GROUPS,
    "signature_algorithms": SIGNATURE_ALGORITHMS,
    "session_id": b"",
    "random": None,
    "key_shares": (),
    "extensions": (),
    "extended_master_secret": True,
    "max_fragment_length": None,
    "record_size_limit": None,
    "ec_point_formats": None,
    "session_ticket": None,
    "psk_key_exchange_modes": (),
    "compression_methods": None,
    "legacy_version": None,
    "record_version": 0x0301,
}

# RFC 8446, 6 and B.2, with those of older and newer versions that are still registered.
ALERTS = {
    0: "close_notify",
    10: "unexpected_message",
    20: "bad_record_mac",
    21: "decryption_failed",
    22: "record_overflow",
    30: "decompression_failure",
    40: "handshake_failure",
    41: "no_certificate",
    42: "bad_certificate",
    43: "unsupported_certificate",
    44: "certificate_revoked",
    45: "certificate_expired",
    46: "certificate_unknown",
    47: "illegal_parameter",
    48: "unknown_ca",
    49: "access_denied",
    50: "decode_error",
    51: "decrypt_error",
    52: "too_many_cids_requested",
    60: "export_restriction",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    86: "inappropriate_fallback",
    90: "user_canceled",
    100: "no_renegotiation",
    109: "missing_extension",
    110: "unsupported_extension",
    111: "certificate_unobtainable",
    112: "unrecognized_name",
    113: "bad_certificate_status_response",
    114: "bad_certificate_hash_value",
    115: "unknown_psk_identity",
    116: "certificate_required",
    117: "general_error",
    120: "no_application_protocol",
    121: "ech_required",
}
