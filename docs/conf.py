"""The site: Sphinx over the pages as they are, and an API reference made from the docstrings.

`make docs` builds it into build/site. The source folder is the root of the repository, so that
links between the pages and to files work the same here and where the pages are read as they are.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pygments.lexers.special import TextLexer

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from site_pages import add_navigation, escape_bars, redirect_home, write_api_pages  # noqa: E402

project = "rlhf-env"
author = "the rlhf-env authors"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
root_doc = "docs/README"
include_patterns = [
    "*.md",
    "examples/*.md",
    "docs/*.md",
    "docs/*/*.md",
    "docs/*/*/*.md",
    "docs/api/*.rst",
]
exclude_patterns = [".*", "build", "dist", "runs", "**/node_modules"]

html_theme = "furo"
html_title = "rlhf-env"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

myst_enable_extensions = ["deflist"]
# Anchors of headings down to this level, as GitHub makes them.
myst_heading_anchors = 4

# Single backticks name objects of the code; names that no page describes stay plain.
default_role = "py:obj"
# Several classes have a field of one name, and tables that a command writes have no title.
suppress_warnings = ["ref.python", "myst.header"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "separated"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = True
# The pages show shell lines, grammars and texts in blocks without a language.
highlight_language = "none"


def setup(app):  # noqa: D103
    # Browsers on GitHub draw these blocks; here they are read.
    app.add_lexer("mermaid", TextLexer)
    write_api_pages(ROOT / "docs" / "api")
    app.connect("autodoc-process-docstring", escape_bars)
    app.connect("source-read", add_navigation)
    app.connect("build-finished", redirect_home)
    return {"parallel_read_safe": True}
