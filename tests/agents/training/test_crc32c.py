"""The checksum of event files, against published values."""

from __future__ import annotations

import pytest

from agents.training.crc32c import crc32c


# RFC 3720, appendix B.4; the last is the usual check value of the polynomial.
@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
    ],
)
def test_published_checksums(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum
