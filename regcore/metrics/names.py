"""Column titles of tables and reports, as Learn2Reg's tables write them, and which way is better."""

from __future__ import annotations

from typing import NamedTuple


class Column(NamedTuple):
    """A metric in a table.

    Attributes:
        title: with its unit, if it has one.
        higher_is_better: otherwise lower is.
    """

    title: str
    higher_is_better: bool


COLUMNS = {
    "dsc": Column("DSC", True),
    "hd95": Column("HD95 [mm]", False),
    "assd": Column("ASSD [mm]", False),
    "tre": Column("TRE [mm]", False),
    "sre": Column("SRE [mm]", False),
    "sdlogj": Column("SDlogJ", False),
    "folding_percent": Column("|J|<=0 [%]", False),
    "folding_percent_strict": Column("|J|<0 [%]", False),
    "folding_percent_forward": Column("|J|<=0 forward [%]", False),
    "folding_percent_forward_strict": Column("|J|<0 forward [%]", False),
    "ncc": Column("NCC", True),
    "nmi": Column("NMI", True),
    "ssim": Column("SSIM", True),
    "uiqi": Column("UIQI", True),
    "tc_euler": Column("TC (Euler)", False),
    "tc_components": Column("TC (components)", False),
}
