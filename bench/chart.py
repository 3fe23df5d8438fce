"""The results as a drawing: a panel for each row, a bar for each server, CPU per request as a multiple of raw's."""
import json
import pathlib
import sys
from xml.sax.saxutils import escape

TITLES = {
    "A1": "ping-pong of lines, 1 connection",
    "A64": "ping-pong of lines, 64 connections",
    "A1000": "ping-pong of lines, 1,000 connections",
    "B16": "64 connections, 16 lines in flight each",
    "B64": "64 connections, 64 lines in flight each",
    "C1": "bulk echo, 1 connection",
    "C16": "bulk echo, 16 connections",
    "S1": "sink, 1 connection",
    "D": "connect, one line, close",
    "E": "memory per idle connection",
}
NAMES = {"libuv-try": "libuv, try_write", "libuv-batch": "libuv, batched",
         "gio": "GIO", "asio": "Asio", "eddy-drain": "eddy, with drain", "eddy-busy": "eddy, busy poll",
         "eddy-cpp": "eddy.hpp", "eddy-cpp-drain": "eddy.hpp, drain", "eddy-cpp-own": "eddy.hpp, copied"}

WIDTH, COLUMNS, GAP = 960, 3, 28
LABEL, NUMBER, BAR, STEP = 104, 44, 11, 17
MOST = 4 # times raw; longer bars are cut off there

STYLE = """
.paper { fill: #ffffff }
text { font: 11px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 12px }
.head { font-weight: 600; font-size: 16px }
.note { fill: #57606a }
.peer { fill: #8c959f }
.eddy { fill: #0969da }
.name-eddy { font-weight: 600 }
.unit { stroke: #cf222e; stroke-width: 1; stroke-dasharray: 3 2 }
.quartiles { stroke: #24292f; stroke-width: 1 }
.cut { stroke: #ffffff; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  .paper { fill: #0d1117 }
  text { fill: #e6edf3 }
  .note { fill: #9198a1 }
  .peer { fill: #6e7681 }
  .eddy { fill: #4493f8 }
  .unit { stroke: #ff7b72 }
  .quartiles { stroke: #e6edf3 }
  .cut { stroke: #0d1117 }
}
"""


def bars(results, row):
    """(peer, first quartile, median, third), and what the number says."""
    if row == "E":
        unit = results["memory"]["raw"]
        return [(p, n / unit, n / unit, n / unit, f"{n:,.0f} B") for p, n in results["memory"].items() if p != "raw"]
    return [(p, *r["cpu"], f"{r['cpu'][1]:.2f}" if r["cpu"][1] < 9.95 else f"{r['cpu'][1]:.0f}")
            for p, r in results["rows"][row].items() if p != "raw"]


def panel(results, row, x, y, width):
    scale = (width - LABEL - NUMBER) / MOST
    left = x + LABEL
    all_bars = sorted(bars(results, row), key=lambda bar: bar[2])
    yield f'<text class="title" x="{x}" y="{y + 12}">{row}: {escape(TITLES[row])}</text>'
    top = y + 22
    for i, (peer, low, middle, high, number) in enumerate(all_bars):
        at = top + i * STEP
        ours = "eddy" if peer.startswith("eddy") else "peer"
        length = min(middle, MOST) * scale
        yield (f'<text class="name-{ours}" x="{left - 6}" y="{at + BAR - 1}" text-anchor="end">'
               f'{escape(NAMES.get(peer, peer))}</text>')
        yield f'<rect class="{ours}" x="{left}" y="{at}" width="{length:.1f}" height="{BAR}" rx="1"/>'
        if middle > MOST: # two strokes through it: it goes on
            for d in (14, 9):
                yield (f'<line class="cut" x1="{left + length - d:.1f}" y1="{at + BAR + 1}" '
                       f'x2="{left + length - d + 4:.1f}" y2="{at - 1}"/>')
        elif high > low:
            yield (f'<line class="quartiles" x1="{left + low * scale:.1f}" y1="{at + BAR / 2}" '
                   f'x2="{left + min(high, MOST) * scale:.1f}" y2="{at + BAR / 2}"/>')
        end = max(length, min(high, MOST) * scale)
        yield f'<text x="{left + end + 4:.1f}" y="{at + BAR - 1}">{number}</text>'
    bottom = top + len(all_bars) * STEP - 3
    yield f'<line class="unit" x1="{left + scale:.1f}" y1="{top - 3}" x2="{left + scale:.1f}" y2="{bottom}"/>'


def draw(results):
    rows = [row for row in TITLES if row in results["rows"] or (row == "E" and results.get("memory"))]
    width = (WIDTH - (COLUMNS - 1) * GAP) / COLUMNS
    body = []
    y = 62
    for first in range(0, len(rows), COLUMNS):
        line = rows[first:first + COLUMNS]
        for column, row in enumerate(line):
            body.extend(panel(results, row, column * (width + GAP), y, width))
        y += 22 + max(len(bars(results, row)) for row in line) * STEP + 18
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-12 -4 {WIDTH + 24} {y + 4}" width="{WIDTH + 24}" '
        f'height="{y + 4}" role="img">',
        "<title>CPU time per request of eddy and its peers, as a multiple of hand-written epoll's</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="paper" x="-12" y="-4" width="{WIDTH + 24}" height="{y + 4}" rx="6"/>',
        '<text class="head" x="0" y="20">CPU time per request, as a multiple of hand-written epoll</text>',
        f'<text class="note" x="0" y="40">Lower is better. Dashed: epoll itself, 1.00; the fine line spans the '
        f'quartiles; bars beyond {MOST} are cut. Loopback, {escape(results["machine"])}.</text>',
        *body, "</svg>", ""])


if __name__ == "__main__": # chart.py RESULTS.json >chart.svg
    print(draw(json.loads(pathlib.Path(sys.argv[1]).read_text())), end="")
