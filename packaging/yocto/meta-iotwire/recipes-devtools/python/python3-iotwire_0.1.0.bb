SUMMARY = "The wire layer of AWS IoT devices, compiled"
DESCRIPTION = "MQTT 3.1.1 and 5.0 packets, TLS hellos and signatures in Cython, and over them routes, transports and clients. \
${PN} is the codecs alone, which need nothing but the core of Python and its times; ${PN}-client connects with it."
SECTION = "devel/python"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

inherit pypi python_setuptools_build_meta cython

# To be filled in when the sdist of this version is published; until then do_fetch refuses. README.md says what works today.
# SRC_URI[sha256sum] = ""

PACKAGE_BEFORE_PN = "${PN}-client ${PN}-emulator ${PN}-cli"

SUMMARY:${PN}-client = "${SUMMARY}: endpoints, credentials and the clients"
FILES:${PN}-client = " \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/_lock.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/_message.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/adapters \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/client \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/clock.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/credentials.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/custom_auth.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/endpoint.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/failover.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/https \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/limits.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/metrics.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/outbox \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/preflight.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/probe \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/providers \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/proxy.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/route.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/service.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/signing.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/systemd.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/transport \
"

SUMMARY:${PN}-emulator = "${SUMMARY}: a local endpoint for tests"
FILES:${PN}-emulator = " \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/_verification.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/emulator \
"

SUMMARY:${PN}-cli = "${SUMMARY}: the command line"
FILES:${PN}-cli = " \
    ${bindir}/iotwire \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/__main__.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/cli \
"

# What compilers and type checkers read: a device has no use for it.
FILES:${PN}-dev += " \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/*.pxd \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/*.pyi \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/py.typed \
"

# OpenEmbedded packs the standard library in parts: these are the ones that each package imports from.
RDEPENDS:${PN} = "python3-core python3-datetime"
RDEPENDS:${PN}-client = " \
    ${PN} \
    python3-asyncio \
    python3-crypt \
    python3-datetime \
    python3-email \
    python3-h11 \
    python3-html \
    python3-io \
    python3-json \
    python3-logging \
    python3-math \
    python3-netclient \
    python3-shell \
    python3-sqlite3 \
    python3-threading \
"
RDEPENDS:${PN}-emulator = " \
    ${PN}-client \
    python3-asyncio \
    python3-crypt \
    python3-cryptography \
    python3-datetime \
    python3-email \
    python3-h11 \
    python3-io \
    python3-json \
    python3-logging \
    python3-netclient \
    python3-numbers \
    python3-stringold \
"
# iotwire.__version__ is read from metadata, which takes the email package; the other packages never ask for it.
RDEPENDS:${PN}-cli = " \
    ${PN}-emulator \
    python3-asyncio \
    python3-datetime \
    python3-email \
    python3-io \
    python3-json \
    python3-logging \
    python3-netclient \
    python3-shell \
    python3-statistics \
"
# The authorities check a server where the program names none; cryptography is for tokens of authorizers that are signed here.
RRECOMMENDS:${PN}-client = "ca-certificates python3-cryptography"

BBCLASSEXTEND = "native nativesdk"
