"""The style: text can be read in both modes, and every state has a shape of its own."""

import re
from importlib import resources

import pytest

from everup.cli.render import SIGNS
from everup.web.looks import SHAPES

CSS = (resources.files("everup.web") / "static" / "everup.css").read_text()
SHAPE_FILE = (resources.files("everup.web") / "templates" / "shapes.html.j2").read_text()

AA = 4.5
"""The contrast of text with what is behind it, by WCAG 2.2."""


def colours(dark: bool) -> dict[str, str]:
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", blocks[1 if dark else 0]))


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("text", ["ink", "dim", "accent", "good", "warn", "bad", "calm"])
@pytest.mark.parametrize("behind", ["paper", "card", "soft"])
def test_text_can_be_read(dark, text, behind):
    shown = colours(dark)
    assert contrast(shown[text], shown[behind]) >= AA


@pytest.mark.parametrize("dark", [False, True])
def test_the_main_button_can_be_read(dark):
    assert contrast(colours(dark)["on-accent"], colours(dark)["accent"]) >= AA


def test_every_state_has_a_shape_that_exists():
    assert set(SIGNS) - {"stopping"} <= set(SHAPES)
    assert all(f'id="shape-{shape}"' in SHAPE_FILE for shape in SHAPES.values())


def test_states_that_differ_in_what_they_ask_for_differ_in_shape():
    shapes = [SHAPES[state] for state in ("healthy", "degraded", "starting", "down", "hung", "unknown", "stopped")]
    assert len(set(shapes)) == len(shapes)
    assert (SHAPES["pass"], SHAPES["fail"]) == (SHAPES["healthy"], SHAPES["down"])


def test_the_style_and_the_script_ask_nobody_else():
    script = (resources.files("everup.web") / "static" / "everup.js").read_text()
    assert not re.findall(r"https?://|url\(|@import|innerHTML|eval\(", CSS + script)
