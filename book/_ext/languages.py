"""The pages in English, in Korean, or in both: what the catalogue and book/korean.yml
say in Korean is written beside the English, and a switch in the head chooses.

The lectures' prose is English. Without a script a page shows both.
"""

import re
from html import escape
from pathlib import Path

from record import swap
from register import load

SWITCH = (
    '<select class="byhand-language" aria-label="Language, 언어">'
    '<option value="both">EN · 한국어</option><option value="en">English</option>'
    '<option value="ko">한국어</option></select>')


def headings(text):
    """A question's heading, with the Korean that stands below it."""
    return re.sub(
        r'<h2>([^<]+)(<a class="headerlink".*?</a>)</h2>(\s*)'
        r'<p><span lang="ko">([^<]+)</span></p>',
        lambda m: (f"<h2>{swap(m.group(1), m.group(4))}{m.group(2)}</h2>{m.group(3)}"
                   f'<p class="ko-line"><span lang="ko">{m.group(4)}</span></p>'), text)


def minutes(text):
    """Mark the answers of a minute, so that one of the two can be hidden."""
    text = text.replace('<div lang="ko">', '<div class="ko" lang="ko">')
    # an English minute is hidden only where a Korean one follows
    return re.sub(
        r"<p>(<strong>In one minute\.</strong>(?:(?!</?h2|<p><strong>In one).)*?"
        r'<div class="ko" lang="ko">)', r'<p class="en">\1', text, flags=re.DOTALL)


def boxes(text, claims, words):
    """The verdict, the sentence and what is true of it in Korean, in each box."""
    def box(match):
        start, id, verdict, title, english = match.groups()
        claim = claims[id]
        korean = claim.get("correct_ko") or claim.get("says_ko")
        said = swap(f"Claim: {verdict}",
                    f"주장: {words['verdicts'][claim['verdict']]}")
        found = f'{start}<p class="byhand-title">{said}{title}{english}'
        if korean:
            found += f'<p class="byhand-correct ko" lang="ko">{escape(korean)}</p>'
        if "correct_ko" in claim:
            found += ('<p class="byhand-said ko" lang="ko">흔히 하는 말: '
                      f'<q>{escape(claim["says_ko"])}</q></p>')
        return found

    text = re.sub(
        r'(<div class="byhand-claim [^>]*id="claim-([^"]+)">)'
        r'<p class="byhand-title">Claim: ([^<]*)(.*?</p>)'
        r'((?:<p class="byhand-(?:correct|said)">.*?</p>)*)', box, text)
    for english, korean in words["boxes"].items():
        text = text.replace(f"<dt>{english}</dt>", f"<dt>{swap(english, korean)}</dt>")
    return text


def frame(text, words):
    """Names of chapters and parts, and the words of the theme."""
    def chapter(match):
        start, name, number = match.groups()
        title = match.group(0)[len(start):]
        korean = words["chapters"].get(name)
        return start + (swap(title, f"{number} {korean}") if korean else title)

    text = re.sub(r'(<a class="(?:current )?reference internal" '
                  r'href="(?:\.\./)?(\w+)\.html">)(\d+\.) [^<]*', chapter, text)
    text = re.sub(
        r'(<a class="(?:current )?reference internal" href="[^"]*?(?:questions/)?(\w+)'
        r'\.html">|<a class="current reference internal" href="#">)(Questions: [\w ]+)',
        lambda m: m.group(1) + swap(m.group(3), "질문"), text)
    for english, korean in words["frame"].items():
        text = re.sub(rf">(\s*){re.escape(english)}(\s*)<",
                      lambda m: f">{m.group(1)}{swap(english, korean)}{m.group(2)}<",
                      text)
    return text.replace('<div class="article-header-buttons">',
                        f'<div class="article-header-buttons">{SWITCH}', 1)


def translate(app, exception):
    if exception or app.builder.format != "html":
        return
    words = load("korean.yml")
    claims = {claim["id"]: claim for question in load("questions.yml")["questions"]
              for claim in question["claims"]}
    for name in app.env.found_docs:
        path = Path(app.outdir, f"{name.removeprefix('book/')}.html")
        text = path.read_text(encoding="utf-8")
        head, article, tail = text.partition("<article")
        body, end, foot = tail.partition("</article>")
        body = boxes(minutes(headings(body)), claims, words)
        whole = frame(head, words) + article + body + end + frame(foot, words)
        path.write_text(contents(whole), encoding="utf-8")


def contents(text):
    """Entries of the page's contents, after its headings were translated."""
    korean = dict(re.findall(r'<h2><span class="say-en">([^<]+)</span>'
                             r'<span class="say-ko" lang="ko">([^<]+)</span>', text))
    return re.sub(
        r'(<a class="reference internal nav-link" href="[^"]*">)([^<]+)</a>',
        lambda m: m.group(1) + (swap(m.group(2), korean[m.group(2)])
                                if m.group(2) in korean else m.group(2)) + "</a>", text)


def setup(app):
    app.connect("build-finished", translate, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
