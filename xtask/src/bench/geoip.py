"""Writes a made-up GeoIP database in MaxMind's format: 262,144 networks in 5,000 cities.

    python geoip.py DATABASE
"""

import struct
import sys

LEVELS = 18
CITIES = 5_000
MAP, TEXT, UINT16, UINT32, ARRAY, UINT64 = 7, 2, 5, 6, 11, 9


def head(kind, size):
    """Kind and size of a value; kinds above 7 take a byte of their own."""
    first, extra = (kind, b"") if kind < 8 else (0, bytes([kind - 7]))
    if size < 29:
        return bytes([first << 5 | size]) + extra
    return bytes([first << 5 | 29]) + extra + bytes([size - 29])


def text(value):
    return head(TEXT, len(value)) + value.encode()


def number(kind, value):
    return head(kind, (value.bit_length() + 7) // 8) + value.to_bytes((value.bit_length() + 7) // 8, "big")


def table(**entries):
    return head(MAP, len(entries)) + b"".join(text(key) + value for key, value in entries.items())


def city(index):
    country = f"Country {index % 200}"
    return table(
        city=table(names=table(en=text(f"City {index}"))),
        country=table(iso_code=text(f"{index % 200:02X}"), names=table(en=text(country))),
    )


def main(path):
    nodes = 2**LEVELS - 1
    offsets, records, at = [], [], 0
    for index in range(CITIES):
        records.append(city(index))
        offsets.append(at)
        at += len(records[-1])
    tree = bytearray()
    for node in range(nodes):
        for child in (2 * node + 1, 2 * node + 2):
            if child >= nodes:
                network = child - nodes
                child = nodes + 16 + offsets[network * 2654435761 % 2**32 % CITIES]
            tree += struct.pack(">I", child)
    about = table(
        node_count=number(UINT32, nodes),
        record_size=number(UINT16, 32),
        ip_version=number(UINT16, 4),
        database_type=text("Made-up-City"),
        languages=head(ARRAY, 1) + text("en"),
        binary_format_major_version=number(UINT16, 2),
        binary_format_minor_version=number(UINT16, 0),
        build_epoch=number(UINT64, 1_736_121_600),
        description=table(en=text("Made up for measurements")),
    )
    with open(path, "wb") as file:
        file.write(tree + bytes(16) + b"".join(records) + b"\xab\xcd\xefMaxMind.com" + about)


main(sys.argv[1])
