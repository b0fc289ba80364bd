"""The page in a browser; these tests need Chromium (Debian's package `chromium`) and are left out where it is not."""

import html
import json
import re
import shutil
import subprocess

import pytest

from hundredfold.analysis import report
from tests.record_factory import plan_of, study, write

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium"),
]
ASK = "<script>onload = () => { document.title = 'said ' + JSON.stringify((() => { %s })()); }</script>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("browser"), study()
    report.build(write(made, folder / "results"), folder / "quick", "quick", plan_of(made))
    return folder / "quick" / report.PAGE


def ask(page, script, width=1440):
    """What a script in the page returns."""
    asked = page.with_name("asked.html")
    asked.write_text(page.read_text().replace("</body>", ASK % script + "</body>"))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},2000", "--dump-dom"]
    done = subprocess.run([*command, asked.as_uri()], capture_output=True, text=True, timeout=120)
    return json.loads(html.unescape(re.search(r"<title>said (.*?)</title>", done.stdout, re.DOTALL).group(1)))


@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_scrolls_down_and_never_sideways(page, width):
    scroll, inner = ask(page, "return [document.documentElement.scrollWidth, innerWidth]", width)
    assert scroll <= max(inner, 500)  # the narrowest window that a headless Chromium has


def test_a_click_on_a_title_sorts_a_table_by_value_and_back(page):
    column = """
        const table = document.querySelector('#results ~ div table.sortable'), head = table.tHead.rows[0].cells[3];
        const read = () => [...table.tBodies[0].rows].map(row => row.cells[3].textContent.trim());
        head.querySelector('button').click(); const up = read(), said = head.getAttribute('aria-sort');
        head.querySelector('button').click(); return [up, read(), said];
    """
    up, down, said = ask(page, column)
    first, back = ([float(re.match(r"[\d.]+", t)[0]) for t in texts if t[:1].isdigit()] for texts in (up, down))
    assert first == sorted(first) and len(first) > 5 and said == "ascending" and back == first[::-1]


def test_every_picture_says_what_it_shows_and_every_table_has_heads(page):
    alts, heads = ask(page, """
        return [[...document.images].map(image => image.alt.length),
                [...document.querySelectorAll('table')].every(table => table.querySelector('th'))];
    """)  # fmt: skip
    assert min(alts) > 40 and heads


def test_the_first_column_stays_where_a_table_is_scrolled(page):
    place = ask(page, """
        const key = document.querySelector('#results ~ div .key'); return getComputedStyle(key).position;
    """)  # fmt: skip
    assert place == "sticky"
