"""How numbers are written on pages; what is not known reads "not measured", never zero or NaN."""

from __future__ import annotations

import math

from hundredfold.analysis.statistics import MOST_SEEDS, Estimate, Interval

UNKNOWN = "not measured"
DASH = "–"  # a cell that must stay empty: a simulated arm has no energy
MINUS = "−"
EVIDENCE = {
    "measured": "measured",
    "modeled": "modeled",
    "estimated": "estimated: CPU-time proxy",
    "none": UNKNOWN,
    None: UNKNOWN,
}
SUFFIXES = {"ratio": "x", "points": " points", "nats": " nats", "relative": " %", "accuracy": " %", "j": " J"}
SIGNED = ("points", "nats", "relative")


def unknown(value: float | None) -> bool:
    """Whether a number is None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, written out up to a million."""
    if unknown(value):
        return UNKNOWN
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if -5 < size < 6:
        text = f"{value:,.{max(0, digits - 1 - size)}f}"
    else:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", MINUS)


def quantity(value: float | None, unit: str) -> str:
    """A figure and its unit: ratio, points (of accuracy), nats, relative (as percent), accuracy, loss or j."""
    if unknown(value):
        return UNKNOWN
    return _bare(value, unit) + _suffix(unit)


def _bare(value: float, unit: str) -> str:
    sign = "+" if unit in SIGNED and value > 0 else ""
    if unit in ("points", "accuracy", "relative"):
        return sign + f"{100 * value:.2f}".replace("-", MINUS)
    if unit == "nats":
        return sign + f"{value:.4f}".replace("-", MINUS)
    if unit == "loss":
        return f"{value:.4f}"
    return number(value)


def _suffix(unit: str) -> str:
    return SUFFIXES.get(unit, "")


def interval(bounds: Interval | None, unit: str) -> str:
    """An interval in brackets; "" where there is none."""
    return f"[{_bare(bounds.low, unit)}, {_bare(bounds.high, unit)}]" if bounds else ""


def estimate(figure: Estimate, unit: str) -> str:
    """A mean, its interval and its n."""
    if unknown(figure.value):
        return UNKNOWN
    spread = interval(figure.interval, unit) or "(no interval)"
    return f"{quantity(figure.value, unit)} {spread}, n = {figure.n}"


def seeds(count: int | None) -> str:
    """A number of seeds, or that none is known."""
    if count is None:
        return UNKNOWN
    return f"more than {MOST_SEEDS:,}" if count > MOST_SEEDS else f"about {count:,}"


def percent(fraction: float | None, digits: int = 0) -> str:
    """A fraction as percent."""
    return UNKNOWN if unknown(fraction) else f"{100 * fraction:.{digits}f} %"
