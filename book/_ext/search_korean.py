"""Search that finds Korean words inside longer ones.

Korean writes particles on the noun (역전파를, 역전파의) and joins nouns into
compounds (경사하강법), and Sphinx indexes whole words. So this indexes every part of a
Korean word of two or more syllables, and takes the particles off the end of what the
reader types. English is indexed as Sphinx does it.
"""

import re

from sphinx.search.en import SearchEnglish

HANGUL = re.compile("[가-힣]+")

# particles of one syllable; taking one off too many only widens the search, since parts
# of words are indexed
PARTICLES = "을를이가은는의에와과로도만서"


class SearchEnglishKorean(SearchEnglish):
    lang = "en-ko"
    language_name = "English and Korean"

    js_splitter_code = """
function splitQuery(query) {
  const particles = /[%s]$/;
  return query
    .split(/[^\\p{Letter}\\p{Number}_\\p{Emoji_Presentation}]+/gu)
    .flatMap((word) => word.split(/([가-힣]+)/))
    .map((word) => {
      const long = /^[가-힣]{3,}$/;
      while (long.test(word) && particles.test(word)) word = word.slice(0, -1);
      return word;
    })
    .filter((word) => word !== "");
}
""" % PARTICLES

    def split(self, text):
        words = []
        for word in super().split(text):
            words += [part for part in HANGUL.split(word) if part]
            for korean in HANGUL.findall(word):
                size = len(korean)
                words += ({korean[i:j] for i in range(size)
                           for j in range(i + 2, size + 1)} or {korean})
        return words


def setup(app):
    app.add_search_language(SearchEnglishKorean)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
