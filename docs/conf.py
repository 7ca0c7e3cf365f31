"""The site of these pages: `pip install -e '.[docs]' && python -m sphinx -W --keep-going -n docs <folder>`."""

project = "cnn_constraints"
extensions = ["myst_parser"]
root_doc = "contents"
html_theme = "furo"
html_title = "cnn_constraints"
html_show_copyright = False
html_copy_source = html_show_sourcelink = False
myst_heading_anchors = 3
