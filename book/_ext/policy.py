"""A Content-Security-Policy in every page: scripts and styles of the site alone.

GitHub Pages sends no such header, and a page that is opened from a folder has none, so
it is a meta element. What is inline on a page, because the theme writes it there, is
allowed by its hash, which is taken from the finished page: nobody keeps a list.
"""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

# By the letter of the standard, 'self' means nothing in a folder; "file:" does. No page
# that came over the network may load such an address.
SITE = "'self' file:"
# types of a <script> that a browser runs; others hold data
RUN = {"", "module", "text/javascript", "application/javascript"}
START = re.compile(r"<meta charset=[^>]*>", re.IGNORECASE)
OLD = re.compile(r'\n?<meta http-equiv="Content-Security-Policy"[^>]*>')


class Inline(HTMLParser):
    """What stands inline on a page: scripts, style sheets, handlers such as onclick."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.scripts, self.styles, self.handlers = [], [], []
        self.into = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.handlers += [value for name, value in attrs.items()
                          if name.startswith("on") and value]
        self.into = None
        if tag == "script" and "src" not in attrs and attrs.get("type", "") in RUN:
            self.into = self.scripts
        elif tag == "style":
            self.into = self.styles
        if self.into is not None:
            self.into.append("")

    def handle_data(self, data):
        if self.into is not None:
            self.into[-1] += data

    def handle_endtag(self, tag):
        self.into = None


def hashes(texts):
    """The sources that allow these texts, each once and in a fixed order."""
    digests = {hashlib.sha256(text.encode()).digest() for text in texts}
    return sorted(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def policy(text):
    """The policy of a page. Formulas are laid out by style attributes, thousands a
    page, so these are allowed; style elements only by their hash.
    """
    found = Inline(text)
    scripts = [SITE, *hashes(found.scripts + found.handlers)]
    if found.handlers:
        scripts.append("'unsafe-hashes'")  # hashes count for handlers, too
    return "; ".join([
        f"default-src {SITE}",
        f"script-src {' '.join(scripts)}",
        f"style-src {SITE} 'unsafe-inline'",
        f"style-src-elem {' '.join([SITE, *hashes(found.styles)])}",
        f"img-src {SITE} data:",
        "connect-src 'none'", "frame-src 'none'", "object-src 'none'",
        "base-uri 'none'", f"form-action {SITE}"])


def guard(text):
    """The page with its policy, which must come before whatever it is to hold."""
    text = OLD.sub("", text)
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy(text)}">'
    guarded, found = START.subn(lambda match: f"{match.group(0)}\n{meta}", text,
                                count=1)
    if not found:
        raise ValueError("expected <meta charset=…>, where the policy is put")
    return guarded


def finish(app, exception):
    """Last of all that writes pages, and before they are packed."""
    if exception or app.builder.format != "html":
        return
    for path in sorted(Path(app.outdir).rglob("*.html")):
        if "_static" not in path.parts:  # there lie templates of the theme
            path.write_text(guard(path.read_text(encoding="utf-8")), encoding="utf-8")


def setup(app):
    app.connect("build-finished", finish, priority=980)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
