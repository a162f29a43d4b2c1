SUMMARY = "The wire layer of AWS IoT devices, compiled"
DESCRIPTION = "MQTT 3.1.1 and 5.0 packets in Cython, and over them routes, transports and an asyncio client. \
${PN} is the codec alone, which needs nothing but the core of Python; ${PN}-client connects with it."
SECTION = "devel/python"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

inherit pypi python_setuptools_build_meta cython

# To be filled in when the sdist of this version is published; until then do_fetch refuses. README.md says what works today.
# SRC_URI[sha256sum] = ""

PACKAGE_BEFORE_PN = "${PN}-client ${PN}-emulator ${PN}-cli"

SUMMARY:${PN}-client = "${SUMMARY}: endpoints, credentials and the asyncio client"
FILES:${PN}-client = " \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/client \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/credentials.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/endpoint.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/route.py \
    ${PYTHON_SITEPACKAGES_DIR}/iotwire/transport \
"

SUMMARY:${PN}-emulator = "${SUMMARY}: a local endpoint for tests"
FILES:${PN}-emulator = "${PYTHON_SITEPACKAGES_DIR}/iotwire/emulator"

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
RDEPENDS:${PN} = "python3-core"
RDEPENDS:${PN}-client = " \
    ${PN} \
    python3-asyncio \
    python3-datetime \
    python3-io \
    python3-logging \
"
RDEPENDS:${PN}-emulator = " \
    ${PN}-client \
    python3-asyncio \
    python3-cryptography \
    python3-datetime \
    python3-io \
    python3-logging \
    python3-netclient \
"
# iotwire.__version__ is read from metadata, which takes the email package; the other packages never ask for it.
RDEPENDS:${PN}-cli = " \
    ${PN}-emulator \
    python3-asyncio \
    python3-datetime \
    python3-email \
    python3-json \
    python3-statistics \
"
# Checks a server where the program names no certificate authority.
RRECOMMENDS:${PN}-client = "ca-certificates"

BBCLASSEXTEND = "native nativesdk"
