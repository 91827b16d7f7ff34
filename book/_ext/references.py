"""The list of references: labels as in the text ("Santurkar et al., 2018"), sorted by
them, and links that can be clicked.
"""

from urllib.parse import quote, urlsplit

from pybtex.plugin import register_plugin
from pybtex.richtext import Text
from pybtex.style.formatting.plain import Style as PlainStyle
from pybtex.style.labels import BaseLabelStyle
from pybtex.style.sorting import BaseSortingStyle
from pybtex.style.template import field, href, join
from sphinxcontrib.bibtex.style.referencing.author_year import (
    AuthorYearReferenceStyle,
)

TEXT = AuthorYearReferenceStyle()  # bibtex_reference_style, which formats the text


def label(entry):
    """Author and year, by the templates that format them in the text."""
    names = TEXT.person.author_or_editor_or_title(full=False)
    return str(Text(names.format_data({"entry": entry, "style": TEXT}),
                    TEXT.author_year_sep, entry.fields["year"]))


class LabelStyle(BaseLabelStyle):
    def format_labels(self, sorted_entries):
        return map(label, sorted_entries)


class SortingStyle(BaseSortingStyle):
    def sorting_key(self, entry):
        return label(entry).casefold()


class Style(PlainStyle):
    default_label_style = default_sorting_style = "author_year"

    def format_doi(self, e):
        """Some old DOIs have < and > in them."""
        address = field("doi", raw=True, apply_func=quote)
        return href(join["https://doi.org/", address])[
            join["doi:", field("doi", raw=True)]]

    def format_url(self, e):
        """An address may be long: the link shows whose it is."""
        url = field("url", raw=True)
        host = field("url", raw=True, apply_func=lambda url: urlsplit(url).netloc)
        return href(url)[host]


def setup(app):
    register_plugin("pybtex.style.labels", "author_year", LabelStyle)
    register_plugin("pybtex.style.sorting", "author_year", SortingStyle)
    register_plugin("pybtex.style.formatting", "author_year", Style)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
